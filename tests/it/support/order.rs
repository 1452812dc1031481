//! Orders as the shipment side knows them, and the messages it sends about them.

use holdfast::clock::Timestamp;
use holdfast::sandbox::{BookedAuthorization, FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, Protocol, TEST_SECRET};
use serde_json::{Value, json};

/// The three configured accounts, one per protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Account {
    Flitt,
    Fondy,
    Flex,
}

impl Account {
    pub const ALL: [Self; 3] = [Self::Flitt, Self::Fondy, Self::Flex];

    /// As configured.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flitt => "flitt-ge",
            Self::Fondy => "fondy-eu",
            Self::Flex => "flex",
        }
    }

    /// Its merchant or client at the sandbox.
    pub const fn merchant(self) -> &'static str {
        match self {
            Self::Flitt => FLITT_MERCHANT,
            Self::Fondy => FONDY_MERCHANT,
            Self::Flex => FLEX_CLIENT,
        }
    }

    /// Its secret at the sandbox.
    pub const fn secret(self) -> &'static str {
        match self {
            Self::Flitt | Self::Fondy => TEST_SECRET,
            Self::Flex => FLEX_CLIENT,
        }
    }

    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Flitt => Protocol::Flitt,
            Self::Fondy => Protocol::Fondy,
            Self::Flex => Protocol::FlexPay,
        }
    }

    /// The currency of its orders.
    pub const fn currency(self) -> &'static str {
        match self {
            Self::Flitt => "GEL",
            Self::Fondy => "EUR",
            Self::Flex => "USD",
        }
    }

    /// May an authorization be captured once only?
    pub const fn is_single(self) -> bool {
        match self {
            Self::Flitt | Self::Fondy => true,
            Self::Flex => false,
        }
    }
}

/// Minor units in words: `1999` is `19.99`.
pub fn major(minor: i64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}

/// `19.99` in minor units.
pub fn minor(major: &str) -> i64 {
    let (whole, cents) = major.split_once('.').expect("two decimals");
    assert_eq!(cents.len(), 2, "{major}");
    whole.parse::<i64>().unwrap() * 100 + cents.parse::<i64>().unwrap()
}

/// An order with an authorization and a plan.
#[derive(Debug, Clone)]
pub struct Order {
    pub id: String,
    pub account: Account,
    pub reference: String,
    pub authorized: i64,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// Line, units, total in minor units.
    pub lines: Vec<(&'static str, u32, i64)>,
    pub shipping: i64,
    pub tax: i64,
}

impl Order {
    /// An order of these lines on this authorization.
    pub fn new(id: &str, account: Account, booked: &BookedAuthorization, lines: &[(&'static str, u32, i64)]) -> Self {
        Self {
            id: id.to_owned(),
            account,
            reference: booked.reference.clone(),
            authorized: booked.amount_minor,
            created_at: booked.created_at,
            expires_at: booked.expires_at,
            lines: lines.to_vec(),
            shipping: 0,
            tax: 0,
        }
    }

    /// What the order owes.
    pub fn total(&self) -> i64 {
        self.lines.iter().map(|(_, _, total)| total).sum::<i64>() + self.shipping + self.tax
    }

    /// The notice of a shipment, as a `CloudEvent`; tests change it as they like.
    pub fn shipped(&self, shipment: &str, lines: &[(&str, u32)]) -> Value {
        let lines: Vec<Value> =
            lines.iter().map(|(line, quantity)| json!({ "line_id": line, "quantity": quantity })).collect();
        self.event(shipment, json!({ "lines": lines, "plan": self.plan() }))
    }

    /// The last shipment, even if something has not shipped.
    pub fn last(&self, shipment: &str, lines: &[(&str, u32)]) -> Value {
        let mut notice = self.shipped(shipment, lines);
        notice["data"]["final"] = true.into();
        notice
    }

    /// A shipment whose amount the sender has worked out, with neither lines nor plan.
    pub fn worth(&self, shipment: &str, amount: i64) -> Value {
        self.event(shipment, json!({ "amount": major(amount) }))
    }

    /// `order.shipped` with nothing but what shipped.
    pub fn bare(&self, shipment: &str, lines: &[(&str, u32)]) -> Value {
        let mut notice = self.shipped(shipment, lines);
        let data = notice["data"].as_object_mut().expect("an object");
        data.retain(|name, _| ["order_id", "shipment_id", "lines"].contains(&name.as_str()));
        notice
    }

    /// `order.authorized`, with everything there is to say.
    pub fn authorized(&self) -> Value {
        let mut event = self.event("authorized", json!({ "plan": self.plan() }));
        event["type"] = json!("order.authorized");
        event["data"].as_object_mut().expect("an object").remove("shipment_id");
        event
    }

    /// The same of a revision of the plan, naming the authorization and nothing that the provider could tell.
    pub fn registered(&self, revision: u32) -> Value {
        let mut event = self.authorized();
        event["id"] = json!(format!("{}-registered-{revision}", self.id));
        event["data"]["plan"]["revision"] = json!(revision);
        let authorization = event["data"]["authorization"].as_object_mut().expect("an object");
        authorization.retain(|name, _| ["account", "reference", "currency"].contains(&name.as_str()));
        event
    }

    /// `order.cancelled`, of everything that has not shipped.
    pub fn cancelled(&self) -> Value {
        let mut event = self.event("cancelled", json!({}));
        event["type"] = json!("order.cancelled");
        event["data"] = json!({ "order_id": self.id });
        event
    }

    fn event(&self, shipment: &str, what: Value) -> Value {
        let mut event = json!({
            "specversion": "1.0",
            "id": format!("{}-{shipment}", self.id),
            "source": "/test/warehouse",
            "type": "order.shipped",
            "subject": self.id,
            "time": self.created_at,
            "datacontenttype": "application/json",
            "data": {
                "order_id": self.id,
                "shipment_id": shipment,
                "authorization": {
                    "account": self.account.name(),
                    "reference": self.reference,
                    "currency": self.account.currency(),
                    "amount": major(self.authorized),
                    "authorized_at": self.created_at,
                    "expires_at": self.expires_at,
                },
            },
        });
        let Value::Object(what) = what else { unreachable!("an object was given") };
        for (name, value) in what {
            event["data"][name] = value;
        }
        event
    }

    fn plan(&self) -> Value {
        let line = |(line, units, total): &(&str, u32, i64)| json!({ "line_id": line, "quantity": units, "total": major(*total) });
        json!({
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
            "shipping": major(self.shipping),
            "tax": major(self.tax),
            "total": major(self.total()),
        })
    }
}

/// A message for the `orders` exchange.
#[derive(Debug, Clone)]
pub struct Message {
    pub routing_key: String,
    pub content_type: Option<String>,
    pub id: Option<String>,
    pub body: Vec<u8>,
}

impl Message {
    /// Any bytes as `order.shipped`.
    pub fn raw(content_type: Option<&str>, body: impl Into<Vec<u8>>) -> Self {
        let content_type = content_type.map(str::to_owned);
        Self { routing_key: "order.shipped".to_owned(), content_type, id: None, body: body.into() }
    }

    /// The data alone, as plain JSON with an AMQP message id.
    pub fn plain(notice: &Value, id: &str) -> Self {
        let message = Self::raw(Some("application/json"), notice["data"].to_string());
        Self { id: Some(id.to_owned()), ..message }
    }
}

impl From<Value> for Message {
    fn from(notice: Value) -> Self {
        Self::raw(Some("application/cloudevents+json"), notice.to_string())
    }
}
