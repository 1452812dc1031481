//! `[accounts.NAME]`: one set of credentials at one provider, and what follows from its protocol.
//!
//! Does not talk to a provider: whether the credentials are right is not known here.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::problem::Noted;
use super::secret::SecretFile;
use super::section::Section;
use super::source::{Place, Value};
use super::{Account, Cloudipsp, FlexPay, FlexPayToken, Protocol, secret, value};
use crate::capture::policy::{AccountPolicy, Caps, Captures, OnExpiry};
use crate::ids::AccountName;
use crate::money::{Currency, Money};

const CONCURRENCY: &str = "64";
const TIMEOUT: &str = "30s";
const CONNECT_TIMEOUT: &str = "5s";

/// The banks behind Flitt and Fondy hold an amount for about a week; neither says how long.
const CLOUDIPSP_LIFETIME: &str = "7d";

/// Upgrade does not say how long Flex Pay remembers an idempotency key, so it is relied on only for
/// a while.
const FLEX_PAY_RESEND_WINDOW: &str = "15m";

/// The accounts, as far as they could be read.
#[derive(Default)]
pub(super) struct Accounts {
    pub accounts: Vec<(Account, AccountPolicy)>,
    /// Of all accounts, those with problems included.
    pub longest_timeout: Option<Duration>,
}

/// `margin` is the derived deadline margin, which no lifetime may be shorter than.
pub(super) fn read(mut section: Section<'_>, margin: Option<Duration>) -> Accounts {
    let mut accounts = Accounts::default();
    for name in section.names() {
        let mut account = section.named(&name);
        let Some(name) = checked_name(&name) else {
            let message = "is not a name for an account: use up to 64 lower-case letters, digits and dashes, \
                           beginning with a letter";
            account.problem("", account.place(), message.to_owned());
            account.abandon();
            continue;
        };
        // A problem is noted already; the other accounts are read all the same.
        if let Ok(account) = read_one(account, name, margin, &mut accounts.longest_timeout) {
            accounts.accounts.push(account);
        }
    }
    accounts
}

/// Narrower than [`AccountName`], so that a variable's name can say it, and a metric's label.
fn checked_name(name: &str) -> Option<AccountName> {
    let allowed = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase());
    AccountName::parse(name).ok().filter(|_| allowed && starts && name.len() <= 64)
}

#[derive(Clone, Copy)]
enum Kind {
    Flitt,
    Fondy,
    FlexPay,
    #[cfg(test)]
    Paper,
}

/// What follows from a protocol: what its adapter says in its `capabilities`, and defaults for an account's settings.
struct Facts {
    captures: Captures,
    on_expiry: OnExpiry,
    tells_expiry: bool,
    /// As written in settings; none where the same request may be sent again for ever.
    resend_window: Option<&'static str>,
    /// As written in settings; none where the provider tells.
    authorization_lifetime: Option<&'static str>,
}

impl Kind {
    const fn facts(self) -> Facts {
        match self {
            Self::Flitt | Self::Fondy => Facts {
                captures: Captures::Single,
                on_expiry: OnExpiry::MayCaptureInFull,
                tells_expiry: false,
                resend_window: None,
                authorization_lifetime: Some(CLOUDIPSP_LIFETIME),
            },
            Self::FlexPay => Facts {
                captures: Captures::Multiple,
                on_expiry: OnExpiry::Void,
                tells_expiry: true,
                resend_window: Some(FLEX_PAY_RESEND_WINDOW),
                authorization_lifetime: None,
            },
            #[cfg(test)]
            Self::Paper => Facts {
                captures: Captures::Multiple,
                on_expiry: OnExpiry::Void,
                tells_expiry: true,
                resend_window: Some("1d"),
                authorization_lifetime: None,
            },
        }
    }
}

fn read_one(
    mut section: Section<'_>,
    name: AccountName,
    margin: Option<Duration>,
    longest_timeout: &mut Option<Duration>,
) -> Result<(Account, AccountPolicy), Noted> {
    let kind = section.required("protocol", kind);
    let concurrency = section.with_default("concurrency", CONCURRENCY, value::integer(1, 10_000));
    let rate_limit = section.optional("rate_limit", value::rate);
    let timeout = section.with_default("timeout", TIMEOUT, value::span);
    let connect_timeout = section.with_default("connect_timeout", CONNECT_TIMEOUT, value::span);
    *longest_timeout = (*longest_timeout).max(timeout.ok());
    if let (Ok(connect), Ok(whole)) = (connect_timeout, timeout)
        && connect > whole
    {
        section.contradiction("connect_timeout", "must not be longer than timeout".to_owned());
    }
    let Ok(kind) = kind else {
        // Which other keys there are depends on the protocol.
        section.abandon();
        return Err(Noted);
    };
    let resend_override = section.optional("resend_window", value::span);
    let quantum = section.optional("quantum", value::money);
    let minimum = section.optional("minimum", value::money);
    let caps = read_caps(&mut section);
    let facts = kind.facts();
    let lifetime = read_lifetime(&mut section, facts.authorization_lifetime, margin);
    let protocol = match kind {
        Kind::Flitt => read_cloudipsp(&mut section).map(|(read, file)| (Protocol::Flitt(read), file)),
        Kind::Fondy => read_cloudipsp(&mut section).map(|(read, file)| (Protocol::Fondy(read), file)),
        Kind::FlexPay => read_flex_pay(&mut section).map(|(read, file)| (Protocol::FlexPay(read), file)),
        #[cfg(test)]
        Kind::Paper => read_paper(&mut section).map(|(read, file)| (Protocol::Paper(read), file)),
    };
    let resend_default = facts.resend_window.and_then(|text| value::span(&Value::Text(text.to_owned())).ok());
    if let (Ok(None), Some(text)) = (&resend_override, facts.resend_window) {
        section.note_effective("resend_window", text.to_owned(), Place::AccountDefault);
    }
    section.finish();
    let (resend_override, authorization_lifetime) = (resend_override?, lifetime?);
    let policy = AccountPolicy {
        captures: facts.captures,
        resend_window: resend_override.or(resend_default),
        timeout: timeout?,
        tells_expiry: facts.tells_expiry,
        authorization_lifetime,
        on_expiry: facts.on_expiry,
        quantum: quantum?,
        minimum: minimum?,
        caps: caps?,
    };
    let (protocol, secret_file) = protocol?;
    let account = Account {
        name,
        concurrency: concurrency?,
        rate_limit: rate_limit?,
        timeout: timeout?,
        connect_timeout: connect_timeout?,
        resend_window: resend_override,
        authorization_lifetime,
        secret_file,
        protocol,
    };
    Ok((account, policy))
}

/// The caps, by currency. A shorter span has no larger one than a longer span: it would never hold anything.
fn read_caps(section: &mut Section<'_>) -> Result<Vec<Caps>, Noted> {
    const KEYS: [&str; 3] = ["cap_per_capture", "cap_per_hour", "cap_per_day"];
    let [capture, hour, day] = KEYS.map(|key| section.optional(key, value::amounts));
    let [capture, hour, day] = [capture?, hour?, day?].map(Option::unwrap_or_default);
    let mut currencies: Vec<Currency> =
        [&capture, &hour, &day].into_iter().flatten().map(|cap| cap.currency()).collect();
    currencies.sort_unstable();
    currencies.dedup();
    let of = |amounts: &[Money], currency| amounts.iter().find(|amount| amount.currency() == currency).copied();
    let caps: Vec<Caps> = currencies
        .into_iter()
        .map(|currency| Caps {
            currency,
            capture: of(&capture, currency),
            hour: of(&hour, currency),
            day: of(&day, currency),
        })
        .collect();
    let mut noted = None;
    for caps in &caps {
        let all = [caps.capture, caps.hour, caps.day];
        for (shorter, longer) in [(0, 1), (1, 2), (0, 2)] {
            let is_larger = all[shorter].zip(all[longer]).is_some_and(|(one, other)| one.minor() > other.minor());
            if is_larger {
                let message = format!("must not be larger than {}, in {}", KEYS[longer], caps.currency);
                noted = Some(section.contradiction(KEYS[shorter], message));
            }
        }
    }
    noted.map_or(Ok(caps), Err)
}

fn read_lifetime(
    section: &mut Section<'_>,
    default: Option<&'static str>,
    margin: Option<Duration>,
) -> Result<Option<Duration>, Noted> {
    const KEY: &str = "authorization_lifetime";
    let lifetime = match default {
        Some(default) => section.with_default(KEY, default, value::span).map(Some),
        None => section.optional(KEY, value::span),
    }?;
    match (lifetime, margin) {
        (Some(lifetime), Some(margin)) if lifetime <= margin => {
            let message = "must be longer than capture.derived_deadline_margin: \
                           else the deadline has passed when the authorization begins";
            Err(section.contradiction(KEY, message.to_owned()))
        }
        (lifetime, _) => Ok(lifetime),
    }
}

fn read_cloudipsp(section: &mut Section<'_>) -> Result<(Cloudipsp, Option<SecretFile>), Noted> {
    let base_url = section.required("base_url", value::provider_url);
    let merchant_id = section.required("merchant_id", value::integer(1, u64::MAX));
    let (secret, file) = secret::required(section, "secret")?;
    Ok((Cloudipsp { base_url: base_url?, merchant_id: merchant_id?, secret }, file))
}

fn read_flex_pay(section: &mut Section<'_>) -> Result<(FlexPay, Option<SecretFile>), Noted> {
    let base_url = section.required("base_url", value::provider_url);
    let token = if section.has("token") {
        read_fixed_token(section)
    } else {
        let token_url = section.required("token_url", value::provider_url);
        let client_id = section.required("client_id", value::text);
        let client_secret = secret::required(section, "client_secret");
        token_url.and_then(|token_url| {
            let (client_secret, file) = client_secret?;
            Ok((FlexPayToken::Fetched { token_url, client_id: client_id?, client_secret }, file))
        })
    };
    let (token, file) = token?;
    Ok((FlexPay { base_url: base_url?, token }, file))
}

#[cfg(test)]
fn read_paper(section: &mut Section<'_>) -> Result<(super::Paper, Option<SecretFile>), Noted> {
    let base_url = section.required("base_url", value::provider_url);
    let shop = section.required("shop", value::text);
    let (secret, file) = secret::required(section, "secret")?;
    Ok((super::Paper { base_url: base_url?, shop: shop?, secret }, file))
}

fn read_fixed_token(section: &mut Section<'_>) -> Result<(FlexPayToken, Option<SecretFile>), Noted> {
    let token = secret::required(section, "token").map(|(token, file)| (FlexPayToken::Fixed(token), file));
    for key in ["token_url", "client_id", "client_secret"] {
        if let Some(node) = section.take(key) {
            let message = "cannot be given together with token: a token is either fixed or fetched".to_owned();
            section.problem(key, Some(node.place), message);
        }
    }
    token
}

impl Account {
    /// The same account with the secret that its file holds now; `None` where it has not changed, or
    /// does not come from a file.
    ///
    /// # Errors
    /// What is wrong with the file, with its path and without what is in it.
    pub fn with_new_secret(&self) -> Result<Option<Self>, String> {
        let Some(file) = &self.secret_file else { return Ok(None) };
        let new = file.read()?;
        if new.expose_secret().is_empty() {
            return Err(format!("names the file {}, which is empty", file.path().display()));
        }
        let mut account = self.clone();
        let held = account.protocol.secret_mut();
        if held.expose_secret() == new.expose_secret() {
            return Ok(None);
        }
        *held = new;
        Ok(Some(account))
    }
}

impl Protocol {
    fn secret_mut(&mut self) -> &mut SecretString {
        match self {
            Self::Flitt(credentials) | Self::Fondy(credentials) => &mut credentials.secret,
            Self::FlexPay(credentials) => match &mut credentials.token {
                FlexPayToken::Fetched { client_secret, .. } => client_secret,
                FlexPayToken::Fixed(token) => token,
            },
            #[cfg(test)]
            Self::Paper(credentials) => &mut credentials.secret,
        }
    }
}

fn kind(value: &Value) -> Result<Kind, String> {
    match value::text(value).as_deref() {
        Ok("flitt") => Ok(Kind::Flitt),
        Ok("fondy") => Ok(Kind::Fondy),
        Ok("flex_pay") => Ok(Kind::FlexPay),
        #[cfg(test)]
        Ok("paper") => Ok(Kind::Paper),
        Ok(_) | Err(_) => Err("must be \"flitt\", \"fondy\" or \"flex_pay\"".to_owned()),
    }
}
