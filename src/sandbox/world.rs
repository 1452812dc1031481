//! All that the pretend providers know: accounts, tokens, keys, authorizations, armed faults.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use uuid::Uuid;

use super::books::{Authorization, MovementKind, NewAuthorization, OrderStatus};
use super::faults::{Armed, Fault, Faults, Operation, RuleState, Subject};
use super::keys::Keys;
use super::report::{BookedAuthorization, Books};
use super::{FLEX_CLIENT, FLITT_MERCHANT, FONDY_MERCHANT, Protocol, Settings, TEST_SECRET};
use crate::clock::Timestamp;
use crate::money::{Currency, Money, MoneyError};

/// Flex Pay's tokens live 30 minutes by default (docs.uplift.com, "authorization").
const TOKEN_LIFETIME_MS: u64 = 30 * 60 * 1000;

/// An account to register; the body of `POST /sandbox/accounts`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// Whose.
    pub protocol: Protocol,
    /// Merchant id (digits) or client id.
    pub account: String,
    /// The secret that requests are signed with, or that tokens are got with.
    pub secret: String,
    /// Flex Pay: how long its tokens live, in milliseconds; default: 30 minutes.
    #[serde(default)]
    pub token_lifetime_ms: Option<u64>,
}

/// What somebody else does to an authorization; the body of `POST /sandbox/movements`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ByHand {
    /// The authorization.
    pub reference: String,
    /// What is done.
    pub kind: ByHandKind,
    /// How much, in minor units of the authorization's currency.
    pub amount_minor: i64,
}

/// What somebody else can do to an authorization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ByHandKind {
    /// Capture, under no key of the merchant's.
    Capture,
    /// Give it back.
    Void,
}

/// Why a control request was not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejected {
    /// No such account.
    #[error("account is not registered: POST it to /sandbox/accounts first")]
    UnknownAccount,
    /// Neither protocol nor account, or two that do not agree.
    #[error("protocol and account do not agree: name either, or a protocol and one of its accounts")]
    WhichAccount,
    /// The account's name is in use by another protocol.
    #[error("account belongs to another protocol: choose another name")]
    AccountTaken,
    /// Flitt and Fondy know merchants by number.
    #[error("account is not a merchant id: use 1 to 12 digits")]
    NotAMerchant,
    /// There is one by this reference.
    #[error("reference is taken: choose another, or leave it out")]
    ReferenceTaken,
    /// No authorization has it.
    #[error("reference is unknown: GET /sandbox/books says which there are")]
    UnknownReference,
    /// More than remains, or nothing.
    #[error("amount_minor is nothing, or more than remains: GET /sandbox/books says how much")]
    DoesNotFit,
    /// The amount or currency cannot be.
    #[error("amount_minor or currency: {0}")]
    Money(#[from] MoneyError),
    /// A transaction begins with its authorization.
    #[error("status: Flex Pay has no unpaid transactions: use approved, declined, expired or reversed")]
    NeverUnpaid,
    /// Nothing to hold.
    #[error("amount_minor is not positive")]
    NoAmount,
    /// A rule that makes no sense.
    #[error("rules[{number}]: {problem}")]
    Fault {
        /// Its place in the list, from 0.
        number: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// All that the pretend providers know.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) accounts: BTreeMap<String, Account>,
    tokens: HashMap<String, Token>,
    armed: Armed,
}

/// One merchant or client.
pub(super) struct Account {
    pub(super) protocol: Protocol,
    pub(super) secret: String,
    pub(super) keys: Keys,
    pub(super) authorizations: Vec<Authorization>,
    by_reference: HashMap<String, usize>,
    token_lifetime: Duration,
}

struct Token {
    account: String,
    expires_at: Timestamp,
}

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            settings: Settings::default(),
            accounts: BTreeMap::new(),
            tokens: HashMap::new(),
            armed: Armed::default(),
        };
        for (protocol, account, secret) in [
            (Protocol::Flitt, FLITT_MERCHANT, TEST_SECRET),
            (Protocol::Fondy, FONDY_MERCHANT, TEST_SECRET),
            (Protocol::FlexPay, FLEX_CLIENT, FLEX_CLIENT),
            #[cfg(test)]
            (Protocol::Paper, super::PAPER_SHOP, TEST_SECRET),
        ] {
            let (account, secret) = (account.to_owned(), secret.to_owned());
            world
                .register(NewAccount { protocol, account, secret, token_lifetime_ms: None })
                .expect("the test accounts have good names");
        }
        world
    }

    pub(super) fn register(&mut self, new: NewAccount) -> Result<(), Rejected> {
        let digits = new.account.bytes().all(|byte| byte.is_ascii_digit());
        if new.protocol.is_cloudipsp() && !(digits && (1..=12).contains(&new.account.len())) {
            return Err(Rejected::NotAMerchant);
        }
        let token_lifetime = Duration::from_millis(new.token_lifetime_ms.unwrap_or(TOKEN_LIFETIME_MS));
        if let Some(known) = self.accounts.get_mut(&new.account) {
            if known.protocol != new.protocol {
                return Err(Rejected::AccountTaken);
            }
            known.secret = new.secret;
            known.token_lifetime = token_lifetime;
            self.end_tokens(&new.account);
            return Ok(());
        }
        let account = Account {
            protocol: new.protocol,
            secret: new.secret,
            keys: Keys::default(),
            authorizations: Vec::new(),
            by_reference: HashMap::new(),
            token_lifetime,
        };
        self.accounts.insert(new.account, account);
        Ok(())
    }

    pub(super) fn authorize(&mut self, new: NewAuthorization, now: Timestamp) -> Result<BookedAuthorization, Rejected> {
        let name = match (&new.account, new.protocol) {
            (Some(account), _) => account.clone(),
            (None, Some(protocol)) => test_account(protocol).to_owned(),
            (None, None) => return Err(Rejected::WhichAccount),
        };
        let account = self.accounts.get_mut(&name).ok_or(Rejected::UnknownAccount)?;
        if new.protocol.is_some_and(|protocol| protocol != account.protocol) {
            return Err(Rejected::WhichAccount);
        }
        let amount = Money::from_minor(new.amount_minor, Currency::parse(&new.currency)?)?;
        if amount.is_zero() {
            return Err(Rejected::NoAmount);
        }
        let ordered = match (new.order_amount_minor, &new.order_currency) {
            (None, None) => amount,
            (minor, code) => Money::from_minor(
                minor.unwrap_or(new.amount_minor),
                Currency::parse(code.as_ref().unwrap_or(&new.currency))?,
            )?,
        };
        let reference = new.reference.clone().unwrap_or_else(|| Uuid::new_v4().to_string());
        if account.by_reference.contains_key(&reference) {
            return Err(Rejected::ReferenceTaken);
        }
        let unpaid = matches!(new.status, OrderStatus::Created | OrderStatus::Processing);
        if !account.protocol.is_cloudipsp() && unpaid {
            return Err(Rejected::NeverUnpaid);
        }
        let made = Authorization::new(account.protocol, reference.clone(), amount, ordered, now, new);
        let booked = BookedAuthorization::of(&name, &made);
        account.by_reference.insert(reference, account.authorizations.len());
        account.authorizations.push(made);
        Ok(booked)
    }

    /// Somebody else, in the provider's own pages, captures or voids a part of an authorization.
    pub(super) fn meddle(&mut self, by_hand: &ByHand, now: Timestamp) -> Result<BookedAuthorization, Rejected> {
        let known = self.accounts.iter_mut();
        let mut known = known.filter_map(|(name, account)| Some((name, account.find(&by_hand.reference)?)));
        let (name, found) = known.next().ok_or(Rejected::UnknownReference)?;
        found.settle(now);
        let amount = Money::from_minor(by_hand.amount_minor, found.authorized.currency())?;
        if amount.is_zero() || amount.minor() > found.remaining().minor() {
            return Err(Rejected::DoesNotFit);
        }
        match by_hand.kind {
            ByHandKind::Void => found.move_money(MovementKind::Void, amount, None, now),
            ByHandKind::Capture if found.protocol.is_cloudipsp() => found.capture_once(amount, None, now),
            ByHandKind::Capture => found.move_money(MovementKind::Capture, amount, None, now),
        }
        Ok(BookedAuthorization::of(name, found))
    }

    pub(super) fn report(&mut self, now: Timestamp) -> Books {
        for authorization in self.accounts.values_mut().flat_map(|account| &mut account.authorizations) {
            authorization.settle(now);
        }
        Books::of(self.accounts.iter().flat_map(|(name, account)| {
            account.authorizations.iter().map(|authorization| BookedAuthorization::of(name, authorization))
        }))
    }

    /// A token for a client that knows its secret, and how long it lives.
    pub(super) fn issue_token(&mut self, client: &str, secret: &str, now: Timestamp) -> Option<(String, Duration)> {
        let account = self.accounts.get(client)?;
        if account.protocol != Protocol::FlexPay || account.secret != secret {
            return None;
        }
        let lifetime = account.token_lifetime;
        self.tokens.retain(|_, token| now < token.expires_at);
        let token = format!("sandbox-{}", Uuid::new_v4().simple());
        self.tokens.insert(token.clone(), Token { account: client.to_owned(), expires_at: now + lifetime });
        Some((token, lifetime))
    }

    /// Whose token this is, while it lives.
    pub(super) fn client_of(&self, token: &str, now: Timestamp) -> Option<&str> {
        self.tokens.get(token).filter(|token| now < token.expires_at).map(|token| token.account.as_str())
    }

    /// Ends all tokens of a client.
    pub(super) fn end_tokens(&mut self, client: &str) {
        self.tokens.retain(|_, token| token.account != client);
    }

    /// Forgets all idempotency keys of a client.
    pub(super) fn forget_keys(&mut self, client: &str) {
        if let Some(account) = self.accounts.get_mut(client) {
            account.keys.forget_all();
        }
    }

    /// Ends the authorization that a request is about, unless it has ended before.
    pub(super) fn expire(&mut self, subject: &Subject, now: Timestamp) {
        if let Some(authorization) = self.find(subject) {
            authorization.expires_at = authorization.expires_at.min(now);
        }
    }

    pub(super) fn arm(&mut self, faults: Faults) -> Result<(), Rejected> {
        self.armed = Armed::new(faults)?;
        Ok(())
    }

    pub(super) fn faults(&self) -> Vec<RuleState> {
        self.armed.state()
    }

    /// Takes note of a request, and says which fault it meets.
    pub(super) fn arrive(&mut self, subject: &Subject) -> Option<Fault> {
        if subject.operation == Operation::Capture
            && let Some(authorization) = self.find(subject)
        {
            authorization.capture_requests += 1;
        }
        self.armed.draw(subject)
    }

    /// The authorization that a request is about.
    pub(super) fn find(&mut self, subject: &Subject) -> Option<&mut Authorization> {
        self.accounts.get_mut(&subject.account)?.find(&subject.reference)
    }
}

impl Account {
    pub(super) fn find(&mut self, reference: &str) -> Option<&mut Authorization> {
        let at = *self.by_reference.get(reference)?;
        self.authorizations.get_mut(at)
    }

    /// The same, and the secret that answers about it are signed with.
    pub(super) fn find_and_secret(&mut self, reference: &str) -> Option<(&mut Authorization, &str)> {
        let at = *self.by_reference.get(reference)?;
        Some((self.authorizations.get_mut(at)?, &self.secret))
    }
}

fn test_account(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Flitt => FLITT_MERCHANT,
        Protocol::Fondy => FONDY_MERCHANT,
        Protocol::FlexPay => FLEX_CLIENT,
        #[cfg(test)]
        Protocol::Paper => super::PAPER_SHOP,
    }
}
