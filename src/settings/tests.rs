use std::collections::BTreeSet;

use secrecy::ExposeSecret;

use super::*;
use crate::capture::policy::{Captures, OnExpiry};
use crate::private_file;

const SECRETS: &[(&str, &str)] = &[("FLITT_SECRET", "s3cr3t-f"), ("FLEX_SECRET", "s3cr3t-x")];

const ACCOUNTS: &str = r#"
[accounts.flitt-ge]
protocol = "flitt"
base_url = "https://pay.flitt.com/"
merchant_id = 1549901
secret = { env = "FLITT_SECRET" }
[accounts.flex]
protocol = "flex_pay"
base_url = "https://partner.upgrade.com/api/flexpay"
token_url = "https://partner.upgrade.com/api/auth/v1/oauth/token"
client_id = "holdfast"
client_secret = { env = "FLEX_SECRET" }
"#;

fn explain(file: &str, variables: &[(&str, &str)]) -> Result<(Settings, Vec<Effective>), SettingsErrors> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holdfast.toml");
    std::fs::write(&path, file).unwrap();
    let variables = SECRETS.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::explain(Some(&path), variables).map_err(|mut errors| {
        for problem in &mut errors.problems {
            if let Some(Place::File { path, .. }) = &mut problem.place {
                *path = "my.toml".into();
            }
        }
        errors
    })
}

fn load(file: &str, variables: &[(&str, &str)]) -> Settings {
    explain(file, variables).unwrap().0
}

/// The problems, one per line.
fn problems(file: &str, variables: &[(&str, &str)]) -> String {
    let errors = explain(file, variables).unwrap_err();
    errors.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_defaults_stand_alone() {
    let settings = Settings::load(None, std::iter::empty()).unwrap();
    assert_eq!(settings.broker.url.expose_secret(), "amqp://guest:guest@127.0.0.1:5672/%2f");
    assert_eq!(settings.broker.prefetch, 512);
    assert_eq!(settings.ledger, Source::Sqlite("holdfast.db".into()));
    assert_eq!(settings.policy.quiet, Duration::from_mins(15));
    assert_eq!(settings.policy.look_after.len(), 7);
    assert_eq!(settings.policy.expiring_leads, [Duration::from_hours(48), Duration::from_hours(12)]);
    assert_eq!(settings.worker.disk_free_min, 1 << 30);
    assert!(settings.accounts.is_empty());
}

#[test]
fn file_overrides_defaults_and_environment_overrides_file() {
    let file = "[broker]\nprefetch = 64\npublish_batch = 7\n";
    let settings = load(
        file,
        &[
            ("HOLDFAST_BROKER__PREFETCH", "32"),
            ("HOLDFAST_CAPTURE__LOOK_AFTER", "1s, 2s"),
            ("HOLDFAST_CAPTURE__EXPIRING_LEADS", "1h, 3h, 2h, 3h"),
            ("HOLDFAST_BROKER__DECLARE_ORDERS", "true"),
            ("HOLDFAST_BROKER__WORK_QUEUE", ""),
            ("HOLDFAST_CONFIG", "my.toml"),
        ],
    );
    assert_eq!(settings.broker.prefetch, 32);
    assert_eq!(settings.broker.publish_batch, 7);
    assert!(settings.broker.declare_orders);
    assert_eq!(settings.broker.work_queue, "holdfast.work.v1");
    assert_eq!(settings.policy.look_after, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert_eq!(settings.policy.expiring_leads, [3, 2, 1].map(Duration::from_hours), "the longest first, each once");
}

#[test]
fn an_account_gets_what_follows_from_its_protocol() {
    let settings = load(ACCOUNTS, &[]);
    let policy = |name: &str| &settings.policy.accounts[&AccountName::parse(name).unwrap()];
    let week = Some(Duration::from_hours(7 * 24));
    let flitt = policy("flitt-ge");
    assert_eq!(flitt.captures, Captures::Single);
    assert_eq!((flitt.resend_window, flitt.authorization_lifetime), (None, week));
    assert_eq!((flitt.on_expiry, policy("flex").on_expiry), (OnExpiry::MayCaptureInFull, OnExpiry::Void));
    let flex = policy("flex");
    assert_eq!(flex.captures, Captures::Multiple);
    assert_eq!((flex.resend_window, flex.authorization_lifetime), (Some(Duration::from_mins(15)), None));

    let flitt = settings.accounts.iter().find(|account| account.name.as_str() == "flitt-ge").unwrap();
    assert_eq!((flitt.concurrency, flitt.timeout), (64, Duration::from_secs(30)));
    let Protocol::Flitt(credentials) = &flitt.protocol else { panic!("not flitt: {:?}", flitt.protocol) };
    assert_eq!(credentials.base_url, "https://pay.flitt.com");
    assert_eq!(credentials.secret.expose_secret(), "s3cr3t-f");
}

#[test]
fn variables_reach_into_accounts() {
    let settings = load(
        ACCOUNTS,
        &[
            ("HOLDFAST_ACCOUNTS__FLITT_GE__MERCHANT_ID", "17"),
            ("HOLDFAST_ACCOUNTS__FLITT_GE__SECRET__ENV", "OTHER"),
            ("OTHER", "rotated"),
            ("HOLDFAST_ACCOUNTS__FLEX__RESEND_WINDOW", "5m"),
        ],
    );
    let flitt = settings.accounts.iter().find(|account| account.name.as_str() == "flitt-ge").unwrap();
    let Protocol::Flitt(credentials) = &flitt.protocol else { panic!("not flitt") };
    assert_eq!((credentials.merchant_id, credentials.secret.expose_secret()), (17, "rotated"));
    let flex = &settings.policy.accounts[&AccountName::parse("flex").unwrap()];
    assert_eq!(flex.resend_window, Some(Duration::from_mins(5)));
}

#[test]
fn secrets_come_from_files_variables_and_credentials() {
    let directory = tempfile::tempdir().unwrap();
    private_file::write(&directory.path().join("flitt"), "from-file\n").unwrap();
    let file = directory.path().join("flitt").display().to_string();
    let read = |variables: &[(&str, &str)]| {
        let settings = load(ACCOUNTS, variables);
        let account = settings.accounts.iter().find(|account| account.name.as_str() == "flitt-ge").unwrap();
        let Protocol::Flitt(credentials) = &account.protocol else { panic!("not flitt") };
        credentials.secret.expose_secret().to_owned()
    };
    assert_eq!(read(&[]), "s3cr3t-f");
    assert_eq!(read(&[("HOLDFAST_ACCOUNTS__FLITT_GE__SECRET__FILE", &file)]), "from-file");
    let credentials = directory.path().display().to_string();
    assert_eq!(
        read(&[("HOLDFAST_ACCOUNTS__FLITT_GE__SECRET__CREDENTIAL", "flitt"), ("CREDENTIALS_DIRECTORY", &credentials)]),
        "from-file"
    );
}

#[test]
fn secrets_are_never_shown() {
    let file = format!("[broker]\nurl = \"amqp://me:s3cr3t-b@rabbit:5672/%2f?auth=s3cr3t-q\"\n{ACCOUNTS}");
    let (settings, effective) = explain(&file, &[]).unwrap();
    let shown = format!("{settings:?} {effective:?}");
    assert!(!shown.contains("s3cr3t"), "{shown}");
    let url = effective.iter().find(|one| one.key == "broker.url").unwrap();
    assert_eq!(url.value, "amqp://***@rabbit:5672/%2f");
    let (_, effective) = explain("", &[("HOLDFAST_BROKER__URL", "amqp://:s3cr3t@rabbit")]).unwrap();
    assert!(!format!("{effective:?}").contains("s3cr3t"), "{effective:?}");
    let cluster = "amqp://me:s3cr3t,1@one/shop, amqps://me:s3cr3t@two/shop";
    let (settings, effective) = explain("", &[("HOLDFAST_BROKER__URL", cluster)]).unwrap();
    let url = effective.iter().find(|one| one.key == "broker.url").unwrap();
    assert_eq!(url.value, "amqp://***@one/shop,amqps://***@two/shop");
    assert_eq!(settings.broker.nodes().count(), 2);

    let url = "postgres://me:s3cr3t@db:5433/books?sslmode=require";
    for (file, shown) in [
        (format!("[ledger]\nurl = \"{url}\"\n"), "postgres://me@db:5433/books"),
        ("[ledger]\nurl = { env = \"DATABASE_URL\" }\n".to_owned(), "(secret: variable DATABASE_URL)"),
    ] {
        let (settings, effective) = explain(&file, &[("DATABASE_URL", url)]).unwrap();
        let is_read =
            matches!(&settings.ledger, Source::Postgres(address) if address.shown().ends_with("@db:5433/books"));
        assert!(is_read, "{settings:?}");
        assert_eq!(effective.iter().find(|one| one.key == "ledger.url").unwrap().value, shown);
        assert!(!format!("{settings:?} {effective:?}").contains("s3cr3t"));
    }

    let wrong = [
        "[ledger]\nurl = \"postgres://s3cr3t:s3cr3t@s3cr3t:s3cr3t/s3cr3t?sslmode=s3cr3t\"\n",
        "[ledger]\nurl = \"postgres://me:s3cr3t@db/x?sslmode=s3cr3t\"\n",
        "[broker]\nurl = \"s3cr3t\"\nprefetch = \"s3cr3t\"\ntopology = \"s3cr3t\"\nheartbeat = \"s3cr3t\"\n",
        "[accounts.a]\nprotocol = \"flitt\"\nsecret = \"s3cr3t\"\nbase_url = \"https://x:s3cr3t@y\"\nmerchant_id = \"s3cr3t\"\n",
        "[accounts.a]\nsecret = \"s3cr3t\n",
        "[accounts.a]\nprotocol = \"s3cr3t\"\n",
        "[capture]\nlook_after = [\"s3cr3t\"]\nopen_max = \"s3cr3t\"\ndisk_free_min = \"s3cr3t\"\n",
    ];
    for file in wrong {
        let text = problems(file, &[("HOLDFAST_ACCOUNTS__A__SECRET", "s3cr3t")]);
        assert!(!text.contains("s3cr3t"), "{text}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_place() {
    let file = r#"[broker]
prefech = 3
prefetch = 0
topology = "create"
[capture]
quiet = "a while"
look_after = []
[brocker]
[accounts.flitt-ge]
protocol = "flitt"
base_url = "http://pay.flitt.com"
secret = "in plain text"
[accounts.Flitt]
[accounts.other]
protocol = "visa"
whatever = 1
"#;
    let variables = [
        ("HOLDFAST_BROKER__HEARTBEAT", "1500ms"),
        ("HOLDFAST_BROKER_URL", "amqp://x"),
        ("HOLDFAST_RETRY__JITTER", "1.5"),
        ("HOLDFAST_ACCOUNTS__FLITT_GE__TIMEOUT", "5m"),
    ];
    insta::assert_snapshot!(problems(file, &variables), @r#"
$HOLDFAST_BROKER_URL: is not a setting: write HOLDFAST_SECTION__KEY, with two underscores between section and key
my.toml:4: broker.topology: must be "declare", "verify" or "none"
my.toml:3: broker.prefetch: must be a whole number from 1 to 65535
$HOLDFAST_BROKER__HEARTBEAT: broker.heartbeat: must be 1 to 65535 whole seconds
my.toml:2: broker.prefech: is not a setting: did you mean `prefetch`?
$HOLDFAST_RETRY__JITTER: retry.jitter: must be a number from 0 to 1
my.toml:6: capture.quiet: is not a duration: write a number and a unit, such as "500ms", "30s", "15m" or "7d"
my.toml:7: capture.look_after: must name at least one duration
my.toml:13: accounts.Flitt: is not a name for an account: use up to 64 lower-case letters, digits and dashes, beginning with a letter
my.toml:11: accounts.flitt-ge.base_url: must use https: http is for loopback only
my.toml:9: accounts.flitt-ge.merchant_id: is missing
my.toml:12: accounts.flitt-ge.secret: is a secret and must not be written here: use { file = "…" }, { env = "…" } or { credential = "…" }
my.toml:15: accounts.other.protocol: must be "flitt", "fondy" or "flex_pay"
default (config/holdfast.toml:181): worker.drain_grace: must be at least 5m, the longest timeout of an account
my.toml:8: brocker: is not a setting: did you mean `broker`?
"#);
}

#[test]
fn each_rule_has_its_message() {
    let flitt = |more: &str| {
        format!(
            "[accounts.a]\nprotocol = \"flitt\"\nbase_url = \"https://x.example\"\nmerchant_id = 1\nsecret = {{ env = \"FLITT_SECRET\" }}\n{more}\n"
        )
    };
    let flex = "[accounts.a]\nprotocol = \"flex_pay\"\nbase_url = \"https://x.example\"\n";
    let table: Vec<(String, &str)> = vec![
        ("[ledger]\nurl = \"postgres://db/x\"".into(), "my.toml:2: ledger.url: names no user"),
        ("[ledger]\nurl = \"sqlite::memory:\"".into(), "must be a file"),
        ("[ledger]\nurl = \"holdfast.db\"".into(), "must be sqlite:PATH"),
        ("[http]\nlisten = \"9464\"".into(), "http.listen: must be an address and a port"),
        ("[traces]\nendpoint = \"otel:4318\"".into(), "traces.endpoint: must be an address such as"),
        ("[traces]\nendpoint = \"https://a:b@otel\"".into(), "must be an address without user name"),
        ("[traces]\nsample_ratio = 1.5".into(), "traces.sample_ratio: must be a number from 0 to 1"),
        ("[worker]\ndrain_grace = \"10s\"".to_owned() + "\n" + &flitt(""), "worker.drain_grace: must be at least 30s"),
        (
            "[capture]\ndeadline_margin = \"1m\"".into(),
            "capture.deadline_margin: must not be shorter than capture.quiet",
        ),
        ("[capture]\nderived_deadline_margin = \"1h\"".into(), "must not be shorter than capture.deadline_margin"),
        ("[capture]\nquiet = \"0s\"".into(), "capture.quiet: must be longer than zero"),
        ("[capture]\nawaiting_max = \"20y\"".into(), "is too long"),
        ("[capture]\ndisk_free_min = \"much\"".into(), "is not a size"),
        ("[retry]\ninitial = \"1h\"".into(), "retry.initial: must not be longer than retry.max"),
        ("[retry]\nmultiplier = nan".into(), "must be a number from 1 to 100"),
        ("[broker]\nreconnect_min = \"1m\"".into(), "broker.reconnect_min: must not be longer"),
        ("[broker]\ndead_queue = \"holdfast.work.v1\"".into(), "must not be the same queue"),
        ("[broker]\nca_file = \"/nowhere/ca.pem\"".into(), "broker.ca_file: cannot be read"),
        ("[broker]\nurl = \"http://127.0.0.1\"".into(), "broker.url: must be an address such as"),
        ("[broker]\nurl = \"amqp://one/shop,amqp://two/other\"".into(), "broker.url: must name the same virtual host"),
        ("[broker]\nurl = \"amqp://one/shop,amqp://\"".into(), "broker.url: must be an address such as"),
        ("[broker]\nurl = { env = \"FLITT_SECRET\" }".into(), "broker.url: must be an address such as"),
        ("broker = 3".into(), "my.toml:1: broker: is a section"),
        ("[broker\nurl = 1".into(), "my.toml:1: is not TOML"),
        (flitt("concurrency = 0"), "accounts.a.concurrency: must be a whole number from 1 to 1000"),
        (flitt("authorization_lifetime = \"12h\""), "must be longer than capture.derived_deadline_margin"),
        (flitt("quantum = 0.05"), "accounts.a.quantum: must be an amount in major units"),
        (flitt("minimum = \"0\""), "accounts.a.minimum: must be an amount in major units"),
        (flitt("connect_timeout = \"31s\""), "must not be longer than timeout"),
        (flitt("secrt = 1"), "my.toml:6: accounts.a.secrt: is not a setting: did you mean `secret`?"),
        (flitt("").replace("env =", "environment ="), "is not a form of secret"),
        (flitt("").replace("FLITT_SECRET", "NOT_SET"), "names the variable NOT_SET, which is not set"),
        (flitt("").replace("env =", "credential ="), "CREDENTIALS_DIRECTORY is not set"),
        (
            flitt("").replace("env = \"FLITT_SECRET\"", "file = \"/nowhere\""),
            "names the file /nowhere, which cannot be read",
        ),
        (flitt("").replace("env =", "file = \"x\", env ="), "must be exactly one of"),
        (flex.to_owned(), "accounts.a.token_url: is missing"),
        (
            format!("{flex}token = {{ env = \"FLEX_SECRET\" }}\nclient_id = \"x\""),
            "cannot be given together with token",
        ),
    ];
    for (file, expected) in table {
        let text = problems(&file, &[]);
        assert!(text.contains(expected), "expected: {expected}\nfile: {file}\nfound: {text}");
        assert_eq!(text.lines().count(), if file == flex { 3 } else { 1 }, "{file}\n{text}");
    }
}

#[test]
fn variables_that_contradict_each_other_are_refused() {
    let text = problems("", &[("HOLDFAST_BROKER__URL", "amqp://h"), ("HOLDFAST_BROKER__URL__ENV", "X")]);
    assert!(text.contains("$HOLDFAST_BROKER__URL__ENV: sets a value and a part of it at once"), "{text}");
}

#[test]
fn https_is_needed_only_outside_loopback() {
    for host in ["127.0.0.1:9470", "localhost", "[::1]:80"] {
        load(&ACCOUNTS.replace("https://pay.flitt.com/", &format!("http://{host}/flitt")), &[]);
    }
    let text = problems(&ACCOUNTS.replace("https://pay.flitt.com/", "http://localhost.example"), &[]);
    assert!(text.contains("must use https"), "{text}");
}

/// No credentials go to a collector, and in a cluster it is seldom behind TLS.
#[test]
fn a_collector_of_traces_may_be_anywhere_and_is_nowhere_by_default() {
    assert_eq!(load(ACCOUNTS, &[]).traces.endpoint, None);
    let traces = load(ACCOUNTS, &[("HOLDFAST_TRACES__ENDPOINT", "http://otel:4318/")]).traces;
    assert_eq!(traces.endpoint.as_deref(), Some("http://otel:4318"));
    assert_eq!(traces.sample_ratio.to_string(), "1");
}

/// The default file with its commented settings switched on.
fn everything() -> String {
    DEFAULTS.lines().map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)).fold(
        String::new(),
        |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        },
    )
}

#[test]
fn the_examples_in_the_default_file_are_right() {
    let directory = tempfile::tempdir().unwrap();
    let inside = |path: &str| directory.path().join(path).display().to_string();
    for name in ["flitt", "broker-ca.pem", "client.pem", "client-key.pem", "flex-test-token"] {
        private_file::write(inside(name).as_ref(), "x\n").unwrap();
    }
    private_file::write(inside("notices-shop").as_ref(), &"x".repeat(32)).unwrap();
    let file = everything()
        .replace("/run/secrets/flitt", &inside("flitt"))
        .replace("/run/secrets/notices-shop", &inside("notices-shop"))
        .replace("/etc/holdfast/broker-ca.pem", &inside("broker-ca.pem"))
        .replace("/etc/holdfast/client.pem", &inside("client.pem"))
        .replace("/etc/holdfast/secrets/client-key.pem", &inside("client-key.pem"));
    let settings = load(&file, &[("CREDENTIALS_DIRECTORY", &inside(""))]);
    assert_eq!(settings.accounts.len(), 3);

    // What the examples call a default is the default.
    let plain = load(ACCOUNTS, &[]);
    let of = |settings: &Settings| {
        let account = settings.accounts.iter().find(|account| account.name.as_str() == "flitt-ge").unwrap().clone();
        (account.concurrency, account.timeout, account.connect_timeout, account.authorization_lifetime)
    };
    assert_eq!(of(&settings), of(&plain));
}

#[test]
fn the_default_file_documents_every_key() {
    // Keys of all accounts of one protocol are the same, so names are left out.
    let tree = source::parse(&everything(), &|line| Place::Default { line }).unwrap();
    let mut findings = Findings::new(source::Environment::default());
    let _ = read(tree, &mut findings);
    let asked: BTreeSet<String> = findings.asked.iter().map(|key| without_account(key)).collect();

    let mut documented = BTreeSet::new();
    let mut section = String::new();
    let mut explained = false;
    for line in everything().lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            let path = without_account(&format!("{section}.{key}"));
            // The second of a pair may share the sentence of the first; an account's keys are
            // explained once, where they come first.
            let pair = ["broker.reconnect_max"].contains(&path.as_str()) || documented.contains(&path);
            assert!(explained || pair, "no comment above {path}");
            documented.insert(path);
        }
        explained = line.starts_with("# ");
    }
    assert_eq!(asked.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not documented");
    assert_eq!(documented.difference(&asked).collect::<Vec<_>>(), Vec::<&String>::new(), "documented but unknown");
}

fn without_account(path: &str) -> String {
    match path.split('.').collect::<Vec<_>>().as_slice() {
        ["accounts", _, key] => format!("accounts.{key}"),
        ["notices", "keys", _] => "notices.keys".to_owned(),
        _ => path.to_owned(),
    }
}

#[test]
fn a_secret_in_a_file_can_be_read_anew_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flitt");
    private_file::write(&file, "first\n").unwrap();
    let from_file = format!("{{ file = \"{}\" }}", file.display());
    let settings = load(&ACCOUNTS.replace("{ env = \"FLITT_SECRET\" }", &from_file), &[]);
    let [flex, flitt] = &settings.accounts[..] else { panic!("two accounts") };
    assert!(flex.with_new_secret().unwrap().is_none(), "a variable never changes");
    assert!(flitt.with_new_secret().unwrap().is_none(), "the same as before");
    private_file::write(&file, "second\n").unwrap();
    let renewed = flitt.with_new_secret().unwrap().expect("another secret");
    let Protocol::Flitt(credentials) = &renewed.protocol else { panic!("Flitt") };
    assert_eq!(credentials.secret.expose_secret(), "second");
    assert!(renewed.with_new_secret().unwrap().is_none());
    private_file::write(&file, "\n").unwrap();
    let problem = renewed.with_new_secret().unwrap_err();
    assert!(problem.contains("is empty") && !problem.contains("second"), "{problem}");
    std::fs::remove_file(&file).unwrap();
    assert!(renewed.with_new_secret().unwrap_err().contains("cannot be read"));
}

#[test]
fn caps_that_contradict_each_other_are_refused() {
    for (caps, expected) in [
        ("cap_per_hour = \"5000.00\"", "accounts.flitt-ge.cap_per_hour: must be an amount with its currency"),
        ("cap_per_hour = [\"1 EUR\", \"2 EUR\"]", "several as a list, each in another currency"),
        ("cap_per_day = \"0.00 EUR\"", "accounts.flitt-ge.cap_per_day: must be an amount with its currency"),
        ("cap_per_day = \"0.5 JPY\"", "no more decimals than the currency has"),
        (
            "cap_per_capture = \"2 EUR\"\ncap_per_hour = [\"3 GEL\", \"1.99 EUR\"]",
            "accounts.flitt-ge.cap_per_capture: must not be larger than cap_per_hour, in EUR",
        ),
        (
            "cap_per_hour = \"2 EUR\"\ncap_per_day = \"1 EUR\"",
            "accounts.flitt-ge.cap_per_hour: must not be larger than cap_per_day, in EUR",
        ),
        (
            "cap_per_capture = \"2 EUR\"\ncap_per_day = \"1 EUR\"",
            "accounts.flitt-ge.cap_per_capture: must not be larger than cap_per_day, in EUR",
        ),
    ] {
        let text = problems(&ACCOUNTS.replacen("merchant_id", &format!("{caps}\nmerchant_id"), 1), &[]);
        assert!(text.contains(expected), "expected: {expected}\nfound: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

#[test]
fn caps_are_money_of_a_currency_each() {
    let caps = "cap_per_capture = \"500.00 GEL\"\ncap_per_hour = [\"500.00 GEL\", \"60000 JPY\"]\nmerchant_id";
    let day = [("HOLDFAST_ACCOUNTS__FLITT_GE__CAP_PER_DAY", "1000 GEL, 60000 JPY")];
    let settings = load(&ACCOUNTS.replacen("merchant_id", caps, 1), &day);
    let name = AccountName::parse("flitt-ge").unwrap();
    let account = &settings.policy.accounts[&name];
    let told: Vec<String> = account.caps.iter().map(|caps| format!("{caps:?}")).collect();
    assert_eq!(
        told,
        [
            "Caps { currency: GEL, capture: Some(500.00 GEL), hour: Some(500.00 GEL), day: Some(1000.00 GEL) }",
            "Caps { currency: JPY, capture: None, hour: Some(60000 JPY), day: Some(60000 JPY) }",
        ]
    );
    assert!(account.is_counted());
    assert_eq!(settings.policy.counted(), [name]);
}

#[test]
fn a_rate_is_calls_in_a_span() {
    let rate = |text: &str| {
        let line = format!("rate_limit = \"{text}\"\nconcurrency = 2\nmerchant_id");
        explain(&ACCOUNTS.replacen("merchant_id", &line, 1), &[])
            .map(|(settings, _)| settings.accounts.iter().find_map(|account| account.rate_limit).unwrap())
    };
    for (text, calls, seconds) in [("50/s", 50, 1), ("600/m", 600, 60), ("1/h", 1, 3_600)] {
        assert_eq!(rate(text).unwrap(), Rate { calls, per: Duration::from_secs(seconds) });
    }
    for text in ["50", "0/s", "-1/s", "1.5/s", "50/d", "/s", "many/s"] {
        let errors = rate(text).unwrap_err();
        assert!(errors.problems[0].message.contains("must be a rate such as"), "{text}");
    }
}
