//! Flitt's and Fondy's response codes, as their lists print them (docs.flitt.com/api/response-codes).
//!
//! One of them, 1008, is only printed in a sample. Codes from the families that have nothing to do
//! with captures (payouts, recurring payments, split payments) carry their family's name.

/// Every published code with its text, in ascending order.
pub(super) const CODES: &[(u16, &str)] = &[
    (1000, "General decline"),
    (1002, "Application error"),
    (1003, "Invalid CVV2 code"),
    (1004, "Do not honor"),
    (1005, "Invalid format"),
    (1006, "Merchant is not configured correctly"),
    (1007, "Parameter `{}` is incorrect"),
    (1008, "Parameter `{}` is mandatory"),
    (1009, "Parameter `{}` is empty"),
    (1010, "Request is empty"),
    (1011, "Parameter `{}` is missing"),
    (1012, "Currency is not available for this merchant"),
    (1013, "Duplicate order"),
    (1014, "Invalid signature"),
    (1015, "Invalid card number"),
    (1016, "Merchant not found"),
    (1017, "No available payment systems"),
    (1018, "Order not found"),
    (1019, "Order already has been completed"),
    (1021, "Unsupported Content-Type"),
    (1023, "Invalid amount"),
    (1024, "3DSecure authentication failed"),
    (1025, "Invalid card expiry date"),
    (1026, "Only redirect method allowed"),
    (1027, "Preauth not allowed"),
    (1028, "Custom design not found"),
    (1034, "Please do not use symbol `|`"),
    (1035, "Token not found"),
    (1036, "Invoice is paid"),
    (1037, "Decline, not sufficient funds"),
    (1040, "Transaction amount exceeds card internet limit"),
    (1041, "Card is in black list"),
    (1042, "Stolen card"),
    (1043, "Restricted card"),
    (1044, "Lost card"),
    (1045, "Card is blocked by acquirer bank"),
    (1046, "Request contains non utf-8 symbol"),
    (1047, "Frequency limit exceeded"),
    (1048, "Amount limit exceeded"),
    (1049, "Unknown payment system error"),
    (1051, "Declined by antifraud"),
    (1052, "Order has expired"),
    (1053, "3DSecure card verification failed"),
    (1054, "Session expired"),
    (1055, "P2P limit exceeded"),
    (1057, "P2P declined"),
    (1058, "P2P declined"),
    (1059, "Transaction with rectoken not allowed for merchant"),
    (1060, "Recurring transaction not allowed for merchant"),
    (1061, "PIN tries exceeded"),
    (1062, "Not permitted to merchant"),
    (1063, "Not permitted to client"),
    (1064, "Call your bank"),
    (1065, "Invalid transaction"),
    (1066, "System malfunction"),
    (1067, "Incorrect PIN"),
    (1068, "Format error"),
    (1069, "Reverse not allowed. Turnover is not enough"),
    (1070, "Routed to another terminal"),
    (1072, "Recurring chain declined"),
    (1073, "3DSecure is mandatory for Maestro cards"),
    (1074, "P2P credit allowed only by rectoken"),
    (1075, "3DSecure is mandatory"),
    (1076, "IBAN declined"),
    (1077, "IBAN declined"),
    (1078, "Token deactivated by bank"),
    (1079, "Card blocked by issuer"),
    (1080, "P2P declined"),
    (1081, "Insufficient funds on balance (p2p credit)"),
    (1082, "Token has expired"),
    (1083, "P2P declined"),
    (1084, "Only full refund allowed"),
    (1086, "Transaction already finished"),
    (1087, "Terminal closed by acquiring bank"),
    (1088, "P2P declined"),
    (1089, "Acquiring bank request timeout"),
    (1090, "P2P card credit not allowed for this country"),
    (1091, "P2P declined"),
    (1092, "Invalid phone"),
    (1096, "Invalid e-mail"),
    (1097, "Decline, refer to card issuer"),
    (1098, "SEPA declined"),
    (1099, "P2P credit is not available for this IP address"),
    (1100, "Operation not allowed"),
    (1102, "Prepaid cards are not allowed"),
    (1103, "Receipt declined"),
    (1104, "Country not allowed by bank-acquirer"),
    (1105, "Antifraud decline. Only full 3D-Secure allowed"),
    (1106, "Split payment declined"),
    (1107, "Split payment declined"),
    (1108, "Split payment declined"),
    (1109, "Order already captured with different amount"),
    (1111, "Card brand not allowed"),
    (1114, "Settlement not allowed until order is captured"),
    (1115, "Pick up card"),
    (1116, "Pick up card"),
    (1117, "Security violation"),
    (1120, "Split payment declined"),
    (1122, "Connection closed unexpectedly"),
    (1123, "Acquiring bank request timeout. Transaction reversed"),
    (1125, "Maestro is not allowed"),
];

/// The text of `code`, about `parameter` where it is about one.
pub(super) fn text(code: u16, parameter: &str) -> String {
    match CODES.binary_search_by_key(&code, |(code, _)| *code) {
        Ok(at) => CODES[at].1.replace("{}", parameter),
        Err(_) => format!("Code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_and_complete() {
        assert!(CODES.is_sorted_by(|left, right| left.0 < right.0), "the search needs the order");
        assert_eq!(CODES.len(), 101);
        assert_eq!(text(1011, "amount"), "Parameter `amount` is missing");
        assert_eq!(text(4242, ""), "Code 4242");
    }
}
