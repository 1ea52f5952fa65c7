//! A strict reader of JSON (FORMAT.md §1): objects, arrays, strings and non-negative integers, nothing else; no duplicate
//! key at any level, nesting of at most [`MAX_DEPTH`].

use crate::Refusal;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Greatest nesting depth; the outermost value is at depth 1.
pub(crate) const MAX_DEPTH: usize = 64;

/// Most word operations that reading the numbers may take.
const MAX_READING: u64 = 1_000_000_000;

/// No number is longer: see `MAX_DIGITS`.
const MAX_TEXT: usize = 400_002;

/// A JSON value that a certificate may hold. Objects are sorted by key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Text(String),
    Index(u64),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// Reads a value at the given depth.
struct AtDepth(usize);

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Json, D::Error> {
        source.deserialize_any(self)
    }
}

impl AtDepth {
    fn deeper<E: Error>(&self) -> Result<(), E> {
        if self.0 > MAX_DEPTH { Err(E::custom(format!("nested deeper than {MAX_DEPTH}"))) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a string, a non-negative integer, an array or an object")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, index: u64) -> Result<Json, E> {
        Ok(Json::Index(index))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        self.deeper()?;
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(AtDepth(self.0 + 1))? {
            list.push(entry);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        self.deeper()?;
        let mut object = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(AtDepth(self.0 + 1))?;
            if object.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key `{}`", shortened(&key))));
            }
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}

impl<'de> serde::Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Json, D::Error> {
        AtDepth(1).deserialize(source)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Text(text) => sink.serialize_str(text),
            Json::Index(index) => sink.serialize_u64(*index),
            Json::List(list) => sink.collect_seq(list),
            Json::Object(object) => sink.collect_map(object),
        }
    }
}

impl Json {
    /// Reads one value and nothing after it.
    pub(crate) fn parse(text: &str) -> Result<Json, Refusal> {
        let json: Json = serde_json::from_str(text)
            .map_err(|error| Refusal::format(format!("not the JSON of a certificate: {error}")))?;
        if json.reading_cost() > MAX_READING {
            return Err(Refusal::limit("the long numbers would take too long to read"));
        }
        Ok(json)
    }

    /// Squared lengths of the texts, in words of 64 bits: what it takes to bring all numbers to lowest terms.
    fn reading_cost(&self) -> u64 {
        match self {
            Json::Text(text) if text.len() <= MAX_TEXT => (text.len() as u64 / 19).pow(2),
            Json::Text(_) | Json::Index(_) => 0,
            Json::List(list) => list.iter().map(Json::reading_cost).sum(),
            Json::Object(object) => object.values().map(Json::reading_cost).sum(),
        }
    }

    /// Sorted keys, no white space.
    pub(crate) fn canonical(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Indented from the given column on, but a value that fits on a line stays on it, and so does what begins at the column `deepest` or behind it.
    pub(crate) fn pretty(&self, indent: usize, deepest: usize) -> String {
        let (open, entries, close) = match self {
            Json::List(list) => {
                ('[', list.iter().map(|entry| entry.pretty(indent + 2, deepest)).collect::<Vec<_>>(), ']')
            }
            Json::Object(object) => {
                let entry = |(key, value): (&String, &Json)| {
                    format!("{}: {}", Json::Text(key.clone()).canonical(), value.pretty(indent + 2, deepest))
                };
                ('{', object.iter().map(entry).collect(), '}')
            }
            Json::Text(_) | Json::Index(_) => return self.canonical(),
        };
        let line = format!("{open}{}{close}", entries.join(", "));
        if (indent + line.len() <= 110 || indent >= deepest) && !line.contains('\n') {
            return line;
        }
        let pad = " ".repeat(indent + 2);
        format!("{open}\n{pad}{}\n{}{close}", entries.join(&format!(",\n{pad}")), " ".repeat(indent))
    }
}

/// The fields of an object while they are taken out one by one.
pub(crate) struct Fields(BTreeMap<String, Json>);

impl Fields {
    pub(crate) fn of(json: Json) -> Result<Self, Refusal> {
        match json {
            Json::Object(object) => Ok(Self(object)),
            _ => Err(Refusal::format("expected an object")),
        }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn take<T: Form>(&mut self, key: &str) -> Result<T, Refusal> {
        self.take_optional(key)?.ok_or_else(|| Refusal::format(format!("key `{key}` is missing")))
    }

    pub(crate) fn take_optional<T: Form>(&mut self, key: &str) -> Result<Option<T>, Refusal> {
        self.0.remove(key).map(|json| T::read(json).map_err(|refusal| refusal.within(key))).transpose()
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.0.into_keys().next() {
            Some(key) => Err(Refusal::format(format!("unknown key `{}`", shortened(&key)))),
            None => Ok(()),
        }
    }
}

/// A type with one JSON form: `read` accepts exactly what `write` gives.
pub(crate) trait Form: Sized {
    fn read(json: Json) -> Result<Self, Refusal>;
    fn write(&self) -> Json;
}

impl Form for String {
    fn read(json: Json) -> Result<Self, Refusal> {
        match json {
            Json::Text(text) => Ok(text),
            _ => Err(Refusal::format("expected a string")),
        }
    }

    fn write(&self) -> Json {
        Json::Text(self.clone())
    }
}

impl Form for usize {
    fn read(json: Json) -> Result<Self, Refusal> {
        match json {
            Json::Index(index) => usize::try_from(index).map_err(|_| Refusal::limit("the integer is too large")),
            _ => Err(Refusal::format("expected a non-negative integer")),
        }
    }

    fn write(&self) -> Json {
        Json::Index(*self as u64)
    }
}

impl<T: Form> Form for Vec<T> {
    fn read(json: Json) -> Result<Self, Refusal> {
        match json {
            Json::List(list) => list
                .into_iter()
                .enumerate()
                .map(|(at, entry)| T::read(entry).map_err(|refusal| refusal.within(format!("[{at}]"))))
                .collect(),
            _ => Err(Refusal::format("expected an array")),
        }
    }

    fn write(&self) -> Json {
        Json::List(self.iter().map(Form::write).collect())
    }
}

impl<T: Form> Form for Box<T> {
    fn read(json: Json) -> Result<Self, Refusal> {
        T::read(json).map(Box::new)
    }

    fn write(&self) -> Json {
        (**self).write()
    }
}

/// Tuples are arrays of fixed length.
macro_rules! tuple_form {
    ($length:literal: $($T:ident $t:ident),+) => {
        impl<$($T: Form),+> Form for ($($T,)+) {
            fn read(json: Json) -> Result<Self, Refusal> {
                let entries = Vec::<Json>::read(json)?;
                let [$($t),+]: [Json; $length] =
                    entries.try_into().map_err(|_| Refusal::format(concat!("expected ", $length, " entries")))?;
                Ok(($($T::read($t)?,)+))
            }

            fn write(&self) -> Json {
                let ($($t,)+) = self;
                Json::List(vec![$($t.write()),+])
            }
        }
    };
}

tuple_form!(2: A a, B b);
tuple_form!(3: A a, B b, C c);
tuple_form!(4: A a, B b, C c, D d);

impl Form for Json {
    fn read(json: Json) -> Result<Self, Refusal> {
        Ok(json)
    }

    fn write(&self) -> Json {
        self.clone()
    }
}

/// An object with the given fields.
pub(crate) fn object<const N: usize>(fields: [(&str, Json); N]) -> Json {
    Json::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// The first characters of a text, for messages.
pub(crate) fn shortened(text: &str) -> String {
    if text.chars().nth(40).is_none() { text.to_owned() } else { text.chars().take(37).chain("...".chars()).collect() }
}
