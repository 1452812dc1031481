//! Words for the labels of what is not decided yet.

use crate::capture::why::{LeftOpen, Missing, Since};

/// How an attempt left it open.
pub(super) const fn left_open(how: LeftOpen) -> &'static str {
    match how {
        LeftOpen::NoAnswer => "it was sent and no answer came in time: the provider has captured it, or has not",
        LeftOpen::ConnectionLost => {
            "it was sent and the connection broke before an answer: the provider has captured it, or has not"
        }
        LeftOpen::HttpStatus => {
            "it was sent and an HTTP error came back, which a proxy may send after the provider has captured it"
        }
        LeftOpen::Unreadable => {
            "it was sent and the answer could not be read, or was about something else: the provider has captured it, \
             or has not"
        }
        LeftOpen::Ambiguous => {
            "it was sent and the provider's code says neither that it was captured nor that it was not"
        }
        LeftOpen::Interrupted => {
            "the worker ended while it was being sent: it has left or has not, and was captured or was not"
        }
        LeftOpen::Pending => "the provider has taken it, and has not approved it yet",
        LeftOpen::Refused => {
            "the provider refused it, but an earlier request of it may have been executed and may even be the reason"
        }
        LeftOpen::Misconfigured => {
            "it was answered with a fault of the account's settings that does not exclude that it was executed"
        }
    }
}

/// What came of it since.
pub(super) const fn since(what: Since) -> &'static str {
    match what {
        Since::NotExecuted => "it was sent once more, and that was certainly not executed",
        Since::Parked => "what was asked met a fault of the account's settings, and it rests",
        Since::LookFailed => "the last look came to nothing that can be relied on",
        Since::StillPending => "the last look shows it, still not approved",
        Since::OverOnce => {
            "the last look shows the authorization over and nothing captured, which has to be seen twice"
        }
        Since::OtherAmount => "the last look shows another amount captured under its key",
        Since::OtherCurrency => "the last look shows the authorization in another currency",
        Since::NothingYet => "the last look shows nothing captured, which means nothing so soon after it was sent",
        Since::RefusedNothingYet => {
            "the last look shows nothing captured, which confirms no refusal so soon after it was sent"
        }
        Since::BalanceDiffers => {
            "the last look shows nothing of ours, and more or less captured in all than our books say"
        }
        Since::OthersUnderWay => {
            "the last look shows nothing captured, while other captures of its authorization are under way"
        }
        Since::Halted => {
            "the last look shows nothing of ours; somebody else captures on its authorization, on which nothing is sent"
        }
    }
}

/// What is missing, and what brings it.
pub(super) const fn missing(what: Missing) -> (&'static str, &'static str) {
    match what {
        Missing::Authorization => (
            "its authorization, or how much was authorized, is not known yet",
            "order.authorized, or another notice of its order with the authorization; an amount that nobody tells is \
             asked of the provider",
        ),
        Missing::Plan => {
            ("the plan of its order is not known yet", "order.authorized, or another notice of its order with the plan")
        }
        Missing::Reading => (
            "the ledger was restored from a backup, and its authorization was not read since",
            "the worker's read of it: holdfast accounts list, where that does not come",
        ),
        Missing::Republication => (
            "the ledger was restored from a backup, and it may have been captured in the time that was lost: on an \
             authorization that is not known again yet, or with others that have not come again",
            "what the order system publishes again: six hours after the restore began it goes by what is known then",
        ),
        Missing::Account => (
            "the account that it names is not in the settings",
            "the account added to the settings, and a restart of the worker",
        ),
    }
}
