//! Every published code, and what it says of a capture request.
//!
//! Source: <https://docs.flitt.com/api/response-codes> (1000 to 1125; Fondy publishes the same list),
//! and 1008, which only a sample shows. No page says which of them are final: the classes are ours.

use crate::capture::evidence::RefusalReason;

use super::super::answer::CodeClass;

/// The order does not exist. Said only after the signature was found right.
pub(super) const ORDER_NOT_FOUND: &str = "1018";

/// What a code says of a capture request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Definitive: the request was refused.
    Refused(RefusalReason),
    /// Our configuration, or the provider's of our merchant, is at fault.
    Misconfigured,
    /// It depends on the parameter that the text names.
    Parameter,
    /// Something broke on the way to the acquirer: the capture may have gone through.
    Broken,
    /// The order is not where we thought it is: read it.
    Elsewhere,
    /// Belongs to other operations (3-D Secure, tokens, payouts, splits). Says nothing here.
    OtherOperation,
}

/// The class of a published code; `None` for any other.
#[expect(clippy::match_same_arms, reason = "one arm for each group of codes that belong together")]
pub(super) fn class(code: u16) -> Option<Class> {
    use RefusalReason::{AuthorizationExpired, Declined, InsufficientFunds, ProviderRejected};

    Some(match code {
        // The issuer, the acquirer or the provider's risk rules declined: do not honor, card limits,
        // black lists, stolen, restricted, lost and blocked cards, frequency and amount limits,
        // antifraud, not permitted, call your bank, invalid transaction, blocked by the issuer,
        // refer to the issuer, pick up the card, security violation; prepaid, country and brand rules.
        1004 | 1040..=1045 | 1047 | 1048 | 1051 | 1062..=1065 | 1079 | 1097 => Class::Refused(Declined),
        1102..=1104 | 1111 | 1115..=1117 | 1125 => Class::Refused(Declined),
        // Not sufficient funds.
        1037 => Class::Refused(InsufficientFunds),
        // The order has expired.
        1052 => Class::Refused(AuthorizationExpired),
        // The request itself: format, mandatory, empty and missing parameters, order not found,
        // invalid amount, forbidden separator, encoding, acquirer's format error.
        1005 | 1008..=1011 | 1018 | 1023 | 1034 | 1046 | 1068 => Class::Refused(ProviderRejected),
        // Merchant not configured, currency not available to it, invalid signature, merchant not
        // found, no payment system, content type, redirect only, preauth not allowed, terminal
        // closed, operation not allowed.
        1006 | 1012 | 1014 | 1016 | 1017 | 1021 | 1026 | 1027 | 1087 | 1100 => Class::Misconfigured,
        // Parameter `…` is incorrect.
        1007 => Class::Parameter,
        // General decline, application error, unknown error of the payment system, system malfunction,
        // other terminal, acquirer's timeout, connection closed.
        1000 | 1002 | 1049 | 1066 | 1070 | 1089 | 1122 => Class::Broken,
        // Already completed, invoice is paid, already finished, captured with a different amount,
        // timed out and reversed.
        1019 | 1036 | 1086 | 1109 | 1123 => Class::Elsewhere,
        // Card data and 3-D Secure.
        1003 | 1015 | 1024 | 1025 | 1053 | 1054 | 1061 | 1067 | 1073 | 1075 | 1105 => Class::OtherOperation,
        // Creating an order, tokens and recurring payments.
        1013 | 1028 | 1035 | 1059 | 1060 | 1072 | 1078 | 1082 => Class::OtherOperation,
        // Payouts, transfers and bank accounts.
        1055 | 1057 | 1058 | 1074 | 1076 | 1077 | 1080 | 1081 | 1083 | 1088 | 1090 | 1091 => Class::OtherOperation,
        1092 | 1096 | 1098 | 1099 => Class::OtherOperation,
        // Reversals, settlements and splits.
        1069 | 1084 | 1106..=1108 | 1114 | 1120 => Class::OtherOperation,
        _ => return None,
    })
}

/// What the code and text of an error mean; `None` for a code that is not published.
pub(super) fn meaning(code: &str, message: &str) -> Option<CodeClass> {
    let class = code.parse().ok().and_then(class)?;
    Some(match class {
        Class::Refused(reason) => CodeClass::Refused(reason),
        Class::Misconfigured => CodeClass::Misconfigured,
        Class::Parameter => incorrect_parameter(message),
        Class::Broken | Class::Elsewhere | Class::OtherOperation => CodeClass::Ambiguous,
    })
}

/// 1007: what is said of `signature` and `merchant_id` is said of every request of the account, so it
/// must not fail this one. Where no parameter is named it could be either.
fn incorrect_parameter(message: &str) -> CodeClass {
    match message.split('`').nth(1) {
        Some("signature" | "merchant_id") => CodeClass::Misconfigured,
        Some(_) => CodeClass::Refused(RefusalReason::ProviderRejected),
        None => CodeClass::Ambiguous,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published list, typed a second time from the documentation, in its order.
    const PUBLISHED: &str = "\
        1000 1002 1003 1004 1005 1006 1007 1008 1009 1010 1011 1012 1013 1014 1015 1016 1017 1018 1019 \
        1021 1023 1024 1025 1026 1027 1028 1034 1035 1036 1037 1040 1041 1042 1043 1044 1045 1046 1047 \
        1048 1049 1051 1052 1053 1054 1055 1057 1058 1059 1060 1061 1062 1063 1064 1065 1066 1067 1068 \
        1069 1070 1072 1073 1074 1075 1076 1077 1078 1079 1080 1081 1082 1083 1084 1086 1087 1088 1089 \
        1090 1091 1092 1096 1097 1098 1099 1100 1102 1103 1104 1105 1106 1107 1108 1109 1111 1114 1115 \
        1116 1117 1120 1122 1123 1125";

    const REFUSED: &str = "\
        1004 1005 1008 1009 1010 1011 1018 1023 1034 1037 1040 1041 1042 1043 1044 1045 1046 1047 1048 \
        1051 1052 1062 1063 1064 1065 1068 1079 1097 1102 1103 1104 1111 1115 1116 1117 1125";

    const MISCONFIGURED: &str = "1006 1012 1014 1016 1017 1021 1026 1027 1087 1100";

    fn holds(list: &str, code: &str) -> bool {
        list.split_whitespace().any(|listed| listed == code)
    }

    #[test]
    fn every_code_has_the_class_that_was_decided() {
        for number in 0..=2_050_u16 {
            let code = number.to_string();
            assert_eq!(class(number).is_some(), holds(PUBLISHED, &code), "{code} is published or is not");
            match meaning(&code, "Parameter `amount` is incorrect") {
                Some(CodeClass::Refused(_) | CodeClass::RefusedReadFirst(_)) => {
                    assert!(holds(REFUSED, &code) || number == 1007, "{code}");
                }
                Some(CodeClass::Misconfigured) => assert!(holds(MISCONFIGURED, &code), "{code}"),
                Some(CodeClass::Ambiguous) | None => {
                    assert!(!holds(REFUSED, &code) && !holds(MISCONFIGURED, &code), "{code}");
                }
            }
        }
    }

    #[test]
    fn the_named_reasons_are_the_right_ones() {
        for (number, reason) in [
            (1004, RefusalReason::Declined),
            (1037, RefusalReason::InsufficientFunds),
            (1052, RefusalReason::AuthorizationExpired),
            (1023, RefusalReason::ProviderRejected),
            (1125, RefusalReason::Declined),
        ] {
            assert_eq!(class(number), Some(Class::Refused(reason)), "{number}");
        }
        for (number, expected) in
            [(1000, Class::Broken), (1109, Class::Elsewhere), (1123, Class::Elsewhere), (1013, Class::OtherOperation)]
        {
            assert_eq!(class(number), Some(expected), "{number}");
        }
    }

    #[test]
    fn an_incorrect_parameter_is_judged_by_its_name() {
        for (message, expected) in [
            ("Parameter `signature` is incorrect", CodeClass::Misconfigured),
            ("Parameter `merchant_id` is incorrect", CodeClass::Misconfigured),
            ("Parameter `amount` is incorrect", CodeClass::Refused(RefusalReason::ProviderRejected)),
            ("Parameter is incorrect", CodeClass::Ambiguous),
            ("", CodeClass::Ambiguous),
        ] {
            assert_eq!(meaning("1007", message), Some(expected), "{message:?}");
        }
        for code in ["", "abc", "-1", "99999999", "10 07"] {
            assert_eq!(meaning(code, "Parameter `amount` is incorrect"), None, "{code:?}");
        }
    }
}
