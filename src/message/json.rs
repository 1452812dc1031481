//! JSON as it came: a tree that borrows from the body, and is known to be readable in only one way.
//!
//! It knows nothing of fields or messages. Values are kept only as far as a message may use them: a
//! number that is no plain integer is remembered as just that, so no floating point gets further.
//!
//! A tree of our own rather than derived deserializers, for three reasons: those take a list where
//! an object is due, they repeat values in their error texts, and they would not see a name that
//! occurs twice in a part that is ignored.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::BODY_MAX;
use super::field::{Fields, Path, Problem};

/// One JSON value.
#[derive(Debug)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    /// Zero or a positive integer of at most 64 bits.
    Integer(u64),
    /// A negative integer of at most 64 bits.
    Negative,
    /// Any number with a fraction or an exponent, or with too many digits.
    Fractional,
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<Member<'a>>),
}

/// One name and value of an object, in the order of the body.
pub(super) type Member<'a> = (Cow<'a, str>, Node<'a>);

impl Node<'_> {
    /// What kind of value it is, as the end of a sentence.
    pub(super) const fn shape(&self) -> &'static str {
        match self {
            Self::Null => "is null",
            Self::Bool(_) => "is a boolean",
            Self::Integer(_) => "is a number",
            Self::Negative => "is a negative number",
            Self::Fractional => "is a number with a fraction, an exponent or too many digits",
            Self::Text(_) => "is a string",
            Self::List(_) => "is a list",
            Self::Object(_) => "is an object",
        }
    }
}

/// Reads a body: at most [`BODY_MAX`] bytes of UTF-8 that are one JSON object.
pub(super) fn parse(body: &[u8]) -> Result<Vec<Member<'_>>, Problem> {
    if body.len() > BODY_MAX {
        let found = format!("body has {} bytes", body.len());
        return Err(Problem::of_body(&found, "send at most 65536; leave out what capturing does not need"));
    }
    let text = std::str::from_utf8(body).map_err(|error| {
        let found = format!("body is not UTF-8 from byte {} on", error.valid_up_to());
        Problem::of_body(&found, "send JSON in UTF-8")
    })?;
    // The texts of `serde_json`'s syntax errors name a place and a rule, never a value. Nesting is
    // bounded by its recursion limit of 128.
    let node = serde_json::from_str(text)
        .map_err(|error| Problem::of_body(&format!("body is not JSON ({error})"), "send one JSON object in UTF-8"))?;
    match node {
        Node::Object(members) => Ok(members),
        Node::Null
        | Node::Bool(_)
        | Node::Integer(_)
        | Node::Negative
        | Node::Fractional
        | Node::Text(_)
        | Node::List(_) => {
            Err(Problem::of_body(&format!("body {}", node.shape()), "send one event per message, as a JSON object"))
        }
    }
}

/// Refuses a name that occurs twice in one object, wherever it is: readers differ in which one they
/// believe, so we and the sender could mean different money.
pub(super) fn refuse_duplicates(root: &Fields<'_>) -> Result<(), Problem> {
    in_members(root.members(), root.path())
}

fn in_members(members: &[Member<'_>], path: &Path<'_>) -> Result<(), Problem> {
    if let Some(name) = repeated(members) {
        return Err(Problem::at(&path.key(name), "occurs twice in one object", "send each name once"));
    }
    members.iter().try_for_each(|(name, node)| in_node(node, &path.key(name)))
}

fn in_node(node: &Node<'_>, path: &Path<'_>) -> Result<(), Problem> {
    match node {
        Node::Object(members) => in_members(members, path),
        Node::List(items) => items.iter().enumerate().try_for_each(|(index, item)| in_node(item, &path.index(index))),
        Node::Null | Node::Bool(_) | Node::Integer(_) | Node::Negative | Node::Fractional | Node::Text(_) => Ok(()),
    }
}

/// A name that occurs more than once. Ordinary objects are small enough to compare pair by pair;
/// large ones are sorted, so that a body made to hurt costs no more than it weighs.
fn repeated<'n>(members: &'n [Member<'_>]) -> Option<&'n str> {
    const PAIRWISE_MAX: usize = 16;
    if members.len() <= PAIRWISE_MAX {
        let twice = |index: usize, name: &str| members.iter().take(index).any(|(earlier, _)| earlier == name);
        return members.iter().enumerate().find(|(index, (name, _))| twice(*index, name)).map(|(_, (name, _))| &**name);
    }
    let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.array_windows().find(|[left, right]| left == right).map(|[name, _]| *name)
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Integer(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(u64::try_from(value).map_or(Node::Negative, Node::Integer))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node<'de>, E> {
        Ok(Node::Fractional)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        // Most objects of a message have as many at most.
        let mut members = Vec::with_capacity(8);
        while let Some((Name(name), node)) = map.next_entry()? {
            members.push((name, node));
        }
        Ok(Node::Object(members))
    }
}

/// The name of a member, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(text.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_name_is_found_in_small_and_large_objects() {
        let members = |count: usize, extra: &'static str| -> Vec<Member<'static>> {
            let mut members: Vec<_> = (0..count).map(|n| (Cow::Owned(format!("k{n}")), Node::Null)).collect();
            members.push((Cow::Borrowed(extra), Node::Null));
            members
        };
        for count in [1, 15, 16, 17, 5_000] {
            assert_eq!(repeated(&members(count, "k0")), Some("k0"), "{count}");
            assert_eq!(repeated(&members(count, "other")), None, "{count}");
        }
    }
}
