//! Providers' text, made fit to be shown and kept: without e-mail addresses, card numbers and
//! tokens, and short.
//!
//! Errs on the side of showing too little. Does not know any secret, so it cannot look for one.

use uuid::Uuid;

/// The most characters of a provider's text that go anywhere.
const LENGTH_MAX: usize = 200;

/// What stands for something left out.
const GONE: &str = "…";

/// Digits (or masked digits) in a row that may be a card number: the shortest has 12.
const CARD_DIGITS_MIN: usize = 12;

/// Characters in a row, letters and digits mixed, that may be a token.
const TOKEN_LENGTH_MIN: usize = 24;

/// `text` without what must not be kept, and at most 200 characters of it.
pub(super) fn text(text: &str) -> String {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).map(shown).collect();
    let plain = without_card_numbers(&words.join(" "));
    let plain = plain.trim();
    if plain.chars().count() <= LENGTH_MAX {
        return plain.to_owned();
    }
    plain.chars().take(LENGTH_MAX - GONE.chars().count()).chain(GONE.chars()).collect()
}

/// The word, unless it may be an e-mail address or a token.
fn shown(word: &str) -> &str {
    if word.contains('@') || word.split(|c: char| !is_token_char(c)).any(is_token) { GONE } else { word }
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+/=_-.".contains(c)
}

/// Long and mixed. A UUID is too, but it is only an id.
fn is_token(part: &str) -> bool {
    part.len() >= TOKEN_LENGTH_MIN
        && part.contains(|c: char| c.is_ascii_digit())
        && part.contains(|c: char| c.is_ascii_alphabetic())
        && Uuid::parse_str(part).is_err()
}

/// Runs of digits, masked or not, with single spaces or dashes between them.
fn without_card_numbers(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut run = String::new();
    for c in text.chars() {
        let joins = matches!(c, ' ' | '-') && !run.is_empty() && !run.ends_with([' ', '-']);
        if is_card_char(c) || joins {
            run.push(c);
        } else {
            push_run(&mut shown, &run);
            run.clear();
            shown.push(c);
        }
    }
    push_run(&mut shown, &run);
    shown
}

fn is_card_char(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, 'X' | 'x' | '*')
}

fn push_run(shown: &mut String, run: &str) {
    let long = run.chars().filter(|c| is_card_char(*c)).count() >= CARD_DIGITS_MIN;
    if long && run.contains(|c: char| c.is_ascii_digit()) {
        shown.push_str(GONE);
        // What joined the run to the next word was not part of the number.
        shown.extend(run.chars().last().filter(|c| !is_card_char(*c)));
    } else {
        shown.push_str(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_kept_is_left_out() {
        for (from, to) in [
            ("Parameter `signature` is incorrect", "Parameter `signature` is incorrect"),
            ("", ""),
            ("card 4444555511116666 declined", "card … declined"),
            ("card 4444 5555 1111 6666 declined", "card … declined"),
            ("card 4444-5555-1111-6666, declined", "card …, declined"),
            ("card 444455XXXXXX6666", "card …"),
            ("card 444455******6666.", "card …."),
            ("payer jane.doe+x@example.com unknown", "payer … unknown"),
            ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc expired", "token … expired"),
            ("rectoken=I0wh7fBmFIdcY6K3Px2QugVrVR65sPafeZkPmRanOiRnXG", "…"),
            (
                "transaction 3f0f8c4e-6f0b-4b52-9c0e-0a8a9a7f1d11 not found",
                "transaction 3f0f8c4e-6f0b-4b52-9c0e-0a8a9a7f1d11 not found",
            ),
            ("request HGh7ami3WN0ci of 2026-11-20", "request HGh7ami3WN0ci of 2026-11-20"),
            ("two\nlines\tand\u{7}bell", "two lines and bell"),
        ] {
            assert_eq!(text(from), to, "{from:?}");
        }
    }

    #[test]
    fn text_is_cut_by_characters() {
        let long = "ы".repeat(300);
        let shown = text(&long);
        assert_eq!(shown.chars().count(), 200);
        assert!(shown.ends_with(GONE));
        assert_eq!(text(&"ы".repeat(200)), "ы".repeat(200));
    }
}
