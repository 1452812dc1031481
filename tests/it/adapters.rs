//! The adapters against the sandbox, over HTTP: what the one side says is what the other side hears.
//!
//! The two share no code, and the lists in here were typed a third time from the providers'
//! documentation.

use std::time::Duration;

use holdfast::capture::evidence::{Answer, AuthorizationStatus, AuthorizationView, DoubtKind, Reading};
use holdfast::ids::Reference;
use holdfast::money::{Currency, Money};
use holdfast::provider::Provider;
use holdfast::sandbox::{
    Channel, Code, FLITT_MERCHANT, Fault, Faults, KeyReuse, KeyRules, NewAuthorization, OnExpiry, Operation,
    OrderStatus, Protocol, Rule, Running, Sandbox, Settings, When,
};
use holdfast::settings;
use secrecy::SecretString;

use crate::support::adapter;

async fn sandbox() -> Running {
    Sandbox::start(([127, 0, 0, 1], 0).into()).await.unwrap()
}

fn new(protocol: Protocol, minor: i64, currency: &str) -> NewAuthorization {
    NewAuthorization {
        protocol: Some(protocol),
        amount_minor: minor,
        currency: currency.to_owned(),
        ..NewAuthorization::default()
    }
}

fn authorize(sandbox: &Running, new: NewAuthorization) -> String {
    sandbox.sandbox().authorize(new).unwrap().reference
}

/// The next request of this kind meets the fault.
fn arm(sandbox: &Running, operation: Operation, fault: Fault) {
    let rule = Rule { operation, times: Some(1), ..Rule::new(fault) };
    sandbox.sandbox().set_faults(Faults { seed: 0, rules: vec![rule] }).unwrap();
}

fn money(minor: i64, currency: &str) -> Money {
    Money::from_minor(minor, Currency::parse(currency).unwrap()).unwrap()
}

async fn seen(adapter: &dyn Provider, reference: &str) -> AuthorizationView {
    let reading = adapter.lookup(&Reference::parse(reference).unwrap()).await;
    let Reading::Seen(view) = reading else { panic!("{reading:?}") };
    *view
}

/// One word for the evidence, and the provider's code where there is one.
fn described(answer: &Answer) -> String {
    let (word, code) = match answer {
        Answer::Captured(_) => ("captured", None),
        Answer::Pending => ("pending", None),
        Answer::Refused(refusal) if refusal.read_first => ("read first", refusal.code.as_deref()),
        Answer::Refused(refusal) => ("refused", refusal.code.as_deref()),
        Answer::Doubt(doubt) => ("doubt", doubt.code.as_deref()),
        Answer::NotExecuted(_) => ("not executed", None),
        Answer::Misconfigured(fault) => ("misconfigured", fault.code.as_deref()),
    };
    [Some(word), code].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// What refuses the capture for good.
const REFUSED: &[u16] = &[
    1004, 1005, 1008, 1009, 1010, 1011, 1018, 1023, 1034, 1037, 1040, 1041, 1042, 1043, 1044, 1045, 1046, 1047, 1048,
    1051, 1052, 1062, 1063, 1064, 1065, 1068, 1079, 1097, 1102, 1103, 1104, 1111, 1115, 1116, 1117, 1125,
];
/// What is said to every request of the account; 1007 as the sandbox words it, on the signature.
const MISCONFIGURED: &[u16] = &[1006, 1007, 1012, 1014, 1016, 1017, 1021, 1026, 1027, 1087, 1100];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_is_heard_as_it_was_meant() {
    let sandbox = sandbox().await;
    for protocol in [Protocol::Flitt, Protocol::Fondy] {
        let adapter = adapter::connect(&sandbox, protocol);
        let reference = authorize(&sandbox, new(protocol, 15_118, "EUR"));
        let request = adapter::request(&reference, 15_118, "EUR");
        for number in 1000..=1130 {
            let word = match number {
                _ if REFUSED.contains(&number) => "refused",
                _ if MISCONFIGURED.contains(&number) => "misconfigured",
                // Ambiguous, to be read first, of other operations, or of no list at all.
                _ => "doubt",
            };
            for channel in [Channel::ErrorCode, Channel::ResponseCode] {
                let code = Code::Number(number);
                arm(&sandbox, Operation::Capture, Fault::Code { code, when: When::Before, channel });
                assert_eq!(described(&adapter.capture(&request).await), format!("{word} {number}"), "{channel:?}");
            }
        }
        for (parameter, word) in [("signature", "misconfigured"), ("amount", "refused"), ("currency", "refused")] {
            let code = Code::About { number: 1007, parameter: parameter.to_owned() };
            arm(&sandbox, Operation::Capture, Fault::Code { code, when: When::Before, channel: Channel::ErrorCode });
            assert_eq!(described(&adapter.capture(&request).await), format!("{word} 1007"), "{parameter}");
        }
        assert_eq!(described(&adapter.capture(&request).await), "captured");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_name_is_heard_as_it_was_meant() {
    let sandbox = sandbox().await;
    let adapter = adapter::connect(&sandbox, Protocol::FlexPay);
    let reference = authorize(&sandbox, new(Protocol::FlexPay, 15_118, "USD"));
    let request = adapter::request(&reference, 15_118, "USD");
    for (name, word) in [
        ("INSUFFICIENT_FUNDS", "refused"),
        ("OVER_CAPTURE_ERROR", "read first"),
        ("OVER_REFUND_ERROR", "doubt"),
        ("OVER_VOID_ERROR", "doubt"),
        ("NO_AMOUNT_LEFT", "read first"),
        ("LINE_EXPIRED_ERROR", "refused"),
        ("AUTH_EXPIRED_ERROR", "refused"),
        ("CURRENCY_MISMATCH_ERROR", "refused"),
        ("TRANSACTION_NOT_FOUND", "misconfigured"),
        ("INCORRECT_ORDER_ID", "misconfigured"),
        ("INVALID_INPUT", "refused"),
        ("NOT_READABLE_INPUT", "refused"),
        ("IDEMPOTENCY_KEY_ALREADY_USED", "doubt"),
        ("MISSING_IDEMPOTENCY_KEY", "misconfigured"),
        ("UNEXPECTED_ERROR", "doubt"),
    ] {
        let code = Code::Name(name.to_owned());
        arm(&sandbox, Operation::Capture, Fault::Code { code, when: When::Before, channel: Channel::ErrorCode });
        assert_eq!(described(&adapter.capture(&request).await), format!("{word} {name}"));
    }
    assert_eq!(described(&adapter.capture(&request).await), "captured");
}

/// Before the work, after it, and the truth that a look-up shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_on_the_way_is_a_doubt_that_a_lookup_ends() {
    let sandbox = sandbox().await;
    for (protocol, currency) in [(Protocol::Flitt, "GEL"), (Protocol::Fondy, "EUR"), (Protocol::FlexPay, "CAD")] {
        let adapter = adapter::connect(&sandbox, protocol);
        for when in [When::Before, When::After] {
            for (fault, kind) in [
                (Fault::Reset { when }, DoubtKind::ConnectionLost),
                (Fault::Hang { ms: 20, when }, DoubtKind::ConnectionLost),
                (Fault::Garbage { when }, DoubtKind::Unreadable),
                (Fault::Status { status: 500, retry_after_s: None, when }, DoubtKind::HttpStatus),
                (Fault::Status { status: 503, retry_after_s: None, when }, DoubtKind::HttpStatus),
            ] {
                let reference = authorize(&sandbox, new(protocol, 15_118, currency));
                let request = adapter::request(&reference, 29, currency);
                arm(&sandbox, Operation::Capture, fault.clone());
                let answer = adapter.capture(&request).await;
                assert!(matches!(&answer, Answer::Doubt(doubt) if doubt.kind == kind), "{fault:?}: {answer:?}");
                let captured: Vec<_> = seen(&*adapter, &reference).await.captures;
                let expected = usize::from(when == When::After);
                assert_eq!(captured.len(), expected, "{fault:?}");
                assert!(captured.iter().all(|capture| capture.amount == request.amount));
                if protocol == Protocol::FlexPay {
                    assert!(captured.iter().all(|capture| capture.capture == Some(request.capture)), "by its key");
                }
                assert_eq!(described(&adapter.capture(&request).await), "captured", "sent again");
                let books = sandbox.sandbox().books();
                assert_eq!(books.find(&reference).unwrap().captures.len(), 1, "{fault:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_forms_of_retry_after_are_heard() {
    let sandbox = sandbox().await;
    let adapter = adapter::connect(&sandbox, Protocol::FlexPay);
    let reference = authorize(&sandbox, new(Protocol::FlexPay, 1000, "USD"));
    let request = adapter::request(&reference, 1000, "USD");
    for status in [429, 503] {
        for fault in [
            Fault::Status { status, retry_after_s: Some(90), when: When::Before },
            Fault::RetryAt { status, seconds: 90, when: When::Before },
        ] {
            arm(&sandbox, Operation::Capture, fault.clone());
            let answer = adapter.capture(&request).await;
            let wait = match (&answer, status) {
                (Answer::NotExecuted(not_executed), 429) => not_executed.retry_after,
                (Answer::Doubt(doubt), 503) => doubt.retry_after,
                (_, _) => panic!("{fault:?}: {answer:?}"),
            };
            let wait = wait.unwrap();
            assert!((89..=91).contains(&wait.as_secs()), "{fault:?}: {wait:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn amounts_arrive_exactly_both_ways() {
    let sandbox = sandbox().await;
    for (protocol, currencies) in [
        (Protocol::Flitt, ["GEL", "JPY", "KWD"]),
        (Protocol::Fondy, ["EUR", "UAH", "KWD"]),
        (Protocol::FlexPay, ["USD", "CAD", "JPY"]),
    ] {
        let adapter = adapter::connect(&sandbox, protocol);
        for currency in currencies {
            for minor in [1, 10, 29, 100, 101, 1_005, 15_118, 100_000, 199_999_999_999] {
                let held = new(protocol, 200_000_000_000, currency);
                let reference = authorize(&sandbox, held);
                assert_eq!(seen(&*adapter, &reference).await.balance.remaining, Some(money(200_000_000_000, currency)));
                let request = adapter::request(&reference, minor, currency);
                assert_eq!(described(&adapter.capture(&request).await), "captured");
                let view = seen(&*adapter, &reference).await;
                assert_eq!(view.captures[0].amount, money(minor, currency));
                assert_eq!(view.balance.captured, Some(money(minor, currency)));
                assert_eq!(sandbox.sandbox().books().find(&reference).unwrap().captured_minor, minor);
            }
        }
    }
}

/// The shop asked for dollars; what is held, and captured, are hryvnias.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_converted_order_is_captured_in_its_actual_currency() {
    let sandbox = sandbox().await;
    let adapter = adapter::connect(&sandbox, Protocol::Fondy);
    let converted = NewAuthorization {
        order_amount_minor: Some(366),
        order_currency: Some("USD".to_owned()),
        ..new(Protocol::Fondy, 15_118, "UAH")
    };
    let reference = authorize(&sandbox, converted);
    let view = seen(&*adapter, &reference).await;
    assert_eq!((view.currency, view.authorized), (Currency::parse("UAH").unwrap(), Some(money(15_118, "UAH"))));
    let asked = adapter.capture(&adapter::request(&reference, 366, "USD")).await;
    assert_eq!(described(&asked), "refused 1007");
    assert_eq!(described(&adapter.capture(&adapter::request(&reference, 15_118, "UAH")).await), "captured");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capture_on_hold_is_pending_until_it_is_approved() {
    let sandbox = sandbox().await;
    for protocol in [Protocol::Flitt, Protocol::Fondy] {
        let adapter = adapter::connect(&sandbox, protocol);
        let reference = authorize(&sandbox, new(protocol, 15_118, "EUR"));
        let request = adapter::request(&reference, 15_118, "EUR");
        arm(&sandbox, Operation::Capture, Fault::Hold { lookups: 2, ms: 0 });
        assert_eq!(adapter.capture(&request).await, Answer::Pending);
        assert_eq!(adapter.capture(&request).await, Answer::Pending, "the same amount again");
        for pending in [true, true, false] {
            let view = seen(&*adapter, &reference).await;
            assert_eq!((view.has_pending_capture, view.captures.is_empty()), (pending, pending));
        }
        assert_eq!(described(&adapter.capture(&request).await), "captured");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_secret_is_our_fault_and_no_outcome() {
    let sandbox = sandbox().await;
    let reference = authorize(&sandbox, new(Protocol::Flitt, 15_118, "GEL"));
    let rotated = adapter::connect_as(settings::Protocol::Flitt(settings::Cloudipsp {
        base_url: sandbox.base_url(),
        merchant_id: FLITT_MERCHANT.parse().unwrap(),
        secret: SecretString::from("mis-rotated"),
    }));
    let answer = rotated.capture(&adapter::request(&reference, 15_118, "GEL")).await;
    assert_eq!(described(&answer), "misconfigured 1007");
    let reading = rotated.lookup(&Reference::parse(&reference).unwrap()).await;
    assert!(matches!(&reading, Reading::Misconfigured(fault) if fault.code.as_deref() == Some("1014")), "{reading:?}");
}

/// How often a token was asked for: a rule without any chance counts the requests that it meets.
fn counting_tokens(fault: Option<Rule>) -> Faults {
    let unlikely = Fault::Garbage { when: When::Before };
    let counting = Rule { operation: Operation::Token, per_mille: Some(0), ..Rule::new(unlikely) };
    Faults { seed: 0, rules: [counting].into_iter().chain(fault).collect() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_ends_early_costs_one_renewal() {
    let sandbox = sandbox().await;
    let adapter = adapter::connect(&sandbox, Protocol::FlexPay);
    let reference = authorize(&sandbox, new(Protocol::FlexPay, 1000, "USD"));
    let asked = || sandbox.sandbox().faults()[0].met;
    sandbox.sandbox().set_faults(counting_tokens(None)).unwrap();
    for _ in 0..3 {
        seen(&*adapter, &reference).await;
    }
    assert_eq!(asked(), 1, "kept");
    let ending = Rule { operation: Operation::Capture, times: Some(1), ..Rule::new(Fault::ExpireTokens) };
    sandbox.sandbox().set_faults(counting_tokens(Some(ending))).unwrap();
    let request = adapter::request(&reference, 1000, "USD");
    assert_eq!(described(&adapter.capture(&request).await), "captured", "with a new token, unnoticed");
    assert_eq!(asked(), 1);
    let never = Rule { operation: Operation::Capture, ..Rule::new(Fault::ExpireTokens) };
    sandbox.sandbox().set_faults(counting_tokens(Some(never))).unwrap();
    assert_eq!(described(&adapter.capture(&request).await), "misconfigured 401", "once more, and no more");
    assert_eq!(asked(), 1);
    assert_eq!(sandbox.sandbox().books().find(&reference).unwrap().captures.len(), 1);
}

/// A provider that answers a known key with an error has captured all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_key_is_looked_up() {
    let sandbox = sandbox().await;
    let keys = KeyRules { reuse: KeyReuse::AlreadyUsed, ..KeyRules::default() };
    sandbox.sandbox().set_settings(Settings { keys });
    let adapter = adapter::connect(&sandbox, Protocol::FlexPay);
    let reference = authorize(&sandbox, new(Protocol::FlexPay, 1000, "USD"));
    let request = adapter::request(&reference, 1000, "USD");
    assert_eq!(described(&adapter.capture(&request).await), "captured");
    assert_eq!(described(&adapter.capture(&request).await), "doubt IDEMPOTENCY_KEY_ALREADY_USED");
    let view = seen(&*adapter, &reference).await;
    assert_eq!((view.captures[0].capture, view.captures[0].amount), (Some(request.capture), request.amount));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_of_an_authorization_is_seen() {
    use AuthorizationStatus::{Declined, Expired, FullyCaptured, NotYetApproved, Open, Voided};

    let sandbox = sandbox().await;
    for (protocol, status, on_expiry, ended, expected) in [
        (Protocol::Flitt, OrderStatus::Approved, OnExpiry::Capture, false, Open),
        (Protocol::Flitt, OrderStatus::Approved, OnExpiry::Capture, true, FullyCaptured),
        (Protocol::Flitt, OrderStatus::Approved, OnExpiry::Release, true, Expired),
        (Protocol::Flitt, OrderStatus::Created, OnExpiry::Capture, false, NotYetApproved),
        (Protocol::Flitt, OrderStatus::Processing, OnExpiry::Capture, false, NotYetApproved),
        (Protocol::Fondy, OrderStatus::Declined, OnExpiry::Capture, false, Declined),
        (Protocol::Fondy, OrderStatus::Reversed, OnExpiry::Capture, false, Voided),
        (Protocol::Fondy, OrderStatus::Expired, OnExpiry::Capture, false, Expired),
        (Protocol::FlexPay, OrderStatus::Approved, OnExpiry::Capture, false, Open),
        (Protocol::FlexPay, OrderStatus::Approved, OnExpiry::Capture, true, Expired),
        (Protocol::FlexPay, OrderStatus::Declined, OnExpiry::Capture, false, Declined),
        (Protocol::FlexPay, OrderStatus::Reversed, OnExpiry::Capture, false, Voided),
    ] {
        let lifetime_ms = ended.then_some(0);
        let reference =
            authorize(&sandbox, NewAuthorization { status, on_expiry, lifetime_ms, ..new(protocol, 1000, "USD") });
        let view = seen(&*adapter::connect(&sandbox, protocol), &reference).await;
        assert_eq!(view.status, expected, "{protocol:?} {status:?} {on_expiry:?} {ended}");
        let books = sandbox.sandbox().books();
        let booked = books.find(&reference).unwrap();
        let captured: i64 = view.captures.iter().map(|capture| capture.amount.minor()).sum();
        assert_eq!(captured, booked.captured_minor);
        if let Some(expires_at) = view.balance.expires_at {
            assert_eq!(protocol, Protocol::FlexPay, "the others do not tell");
            let apart = (booked.expires_at - expires_at).abs().to_std().unwrap();
            assert!(apart < Duration::from_micros(1), "to the digits that were sent: {apart:?}");
        }
    }
}
