//! The certificate format as Rust types (FORMAT.md). A producer fills these structs and calls [`Certificate::to_json`];
//! every type has one JSON form, so that what is written is read back equal.

mod arithmetic;
mod cones;
mod number;
mod other;
mod point;

pub use arithmetic::*;
pub use cones::{ConesBound, ConesStep};
pub use number::{Field, Number, Rat};
pub use other::*;
pub use point::*;

use crate::Refusal;
use crate::json::{Fields, Form, Json, object};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// A record whose fields stand in one JSON object, possibly together with those of another record.
pub(crate) trait Record: Sized {
    fn take(fields: &mut Fields) -> Result<Self, Refusal>;
    fn put(&self) -> Vec<(&'static str, Json)>;
}

/// The JSON form of records: an object with nothing else in it.
macro_rules! form_of_record {
    ($($name:ident),*) => {$(
        impl crate::json::Form for $name {
            fn read(json: crate::json::Json) -> Result<Self, crate::Refusal> {
                let mut fields = crate::json::Fields::of(json)?;
                let record = crate::format::Record::take(&mut fields)?;
                fields.finish()?;
                Ok(record)
            }

            fn write(&self) -> crate::json::Json {
                let fields = crate::format::Record::put(self).into_iter();
                crate::json::Json::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect())
            }
        }
    )*};
}
pub(crate) use form_of_record;

/// The JSON form of a struct: one key for each field, `; optional` ones, `+ nested` records in the same object.
macro_rules! record {
    ($name:ident { $($field:ident),* $(; $optional:ident)? $(+ $nested:ident)? }) => {
        impl crate::format::Record for $name {
            fn take(fields: &mut crate::json::Fields) -> Result<Self, crate::Refusal> {
                Ok(Self {
                    $($field: fields.take(stringify!($field))?,)*
                    $($optional: fields.take_optional(stringify!($optional))?,)?
                    $($nested: crate::format::Record::take(fields)?,)?
                })
            }

            fn put(&self) -> Vec<(&'static str, crate::json::Json)> {
                let Self { $($field,)* $($optional,)? $($nested,)? } = self;
                #[allow(unused_mut, reason = "needed only with an optional or nested field")]
                let mut fields = vec![$((stringify!($field), crate::json::Form::write($field)),)*];
                $(fields.extend($optional.as_ref().map(|value| {
                    (stringify!($optional), crate::json::Form::write(value))
                }));)?
                $(fields.extend(crate::format::Record::put($nested));)?
                fields
            }
        }
        crate::format::form_of_record!($name);
    };
}
pub(crate) use record;

/// Feature d.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// M_d > 0.
    pub mass: Rat,
    /// p_d, n_p numbers.
    pub w_p: Vec<Rat>,
    /// r_d, n_r numbers.
    pub w_r: Vec<Rat>,
}
record!(Feature { mass, w_p, w_r });

/// The activation σ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activation {
    /// z_i is kept iff z_i > c, with c ≥ 0.
    Threshold {
        /// The threshold.
        c: Rat,
    },
    /// The k largest are kept, ties to the lower index; k ≥ 1.
    TopK {
        /// How many.
        k: usize,
    },
    /// The positive ones among the k largest are kept; k ≥ 1.
    TopKRelu {
        /// How many.
        k: usize,
    },
}

impl Record for Activation {
    fn take(fields: &mut Fields) -> Result<Self, Refusal> {
        match fields.take::<String>("kind")?.as_str() {
            "threshold" => Ok(Self::Threshold { c: fields.take("c")? }),
            "top-k" => Ok(Self::TopK { k: fields.take("k")? }),
            "top-k-relu" => Ok(Self::TopKRelu { k: fields.take("k")? }),
            _ => Err(Refusal::format("kind: expected `threshold`, `top-k` or `top-k-relu`")),
        }
    }

    fn put(&self) -> Vec<(&'static str, Json)> {
        let (kind, key, value) = match self {
            Self::Threshold { c } => ("threshold", "c", c.write()),
            Self::TopK { k } => ("top-k", "k", k.write()),
            Self::TopKRelu { k } => ("top-k-relu", "k", k.write()),
        };
        vec![("kind", Json::Text(kind.to_owned())), (key, value)]
    }
}

form_of_record!(Activation);

/// The instance: features, all of one shape, and the activation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// σ.
    pub activation: Activation,
    /// At least one.
    pub features: Vec<Feature>,
}

impl Form for Problem {
    fn read(json: Json) -> Result<Self, Refusal> {
        let mut fields = Fields::of(json)?;
        expect_version(&mut fields)?;
        let problem = Self { activation: fields.take("activation")?, features: fields.take("features")? };
        fields.finish()?;
        Ok(problem)
    }

    fn write(&self) -> Json {
        object([
            ("activation", self.activation.write()),
            ("features", self.features.write()),
            ("format", Json::Index(1)),
        ])
    }
}

impl Problem {
    /// Keys sorted, no white space: the text that is hashed.
    pub fn canonical_json(&self) -> String {
        self.write().canonical()
    }

    /// The name of the instance: SHA-256 of [`Problem::canonical_json`] in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        Sha256::digest(self.canonical_json()).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn expect_version(fields: &mut Fields) -> Result<(), Refusal> {
    match fields.take::<usize>("format")? {
        1 => Ok(()),
        other => Err(Refusal::format(format!("format: expected 1, found {other}"))),
    }
}

/// `$kind => $variant(struct)`: the enum of bodies and its JSON forms.
macro_rules! bodies {
    ($($(#[$doc:meta])* $kind:literal => $name:ident),* $(,)?) => {
        /// What a certificate proves, one variant for each kind.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Body {
            $($(#[$doc])* $name($name),)*
        }

        /// The kinds of certificates.
        pub const KINDS: &[&str] = &[$($kind),*];

        $(impl From<$name> for Body {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*

        impl Body {
            /// The kind as it is written in the file.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => $kind,)*
                }
            }

            fn read(kind: &str, json: Json) -> Result<Self, Refusal> {
                match kind {
                    $($kind => Form::read(json).map(Self::$name),)*
                    other => {
                        Err(Refusal::format(format!("unknown kind `{}`", crate::json::shortened(other))))
                    }
                }
            }

            fn write(&self) -> Json {
                match self {
                    $(Self::$name(body) => body.write(),)*
                }
            }
        }
    };
}

bodies! {
    /// A point is a partial optimum.
    "partial-optimum" => PartialOptimum,
    /// Moreover the loss curves down from it.
    "strict-saddle" => StrictSaddle,
    /// Moreover it is a local minimum in its cell.
    "local-min" => LocalMin,
    /// An encoder has the pattern.
    "pattern-witness" => PatternWitness,
    /// No encoder has the pattern.
    "pattern-empty" => PatternEmpty,
    /// No point of the cell is a partial optimum.
    "no-partial-optimum" => NoPartialOptimum,
    /// Both block residuals of a point are at most ε.
    "epsilon-partial-optimum" => EpsilonPartialOptimum,
    /// A point has L̃ = 0.
    "zero-loss" => ZeroLoss,
    /// The value of L̃ at a point.
    "loss-value" => LossValue,
    /// L̃ is nowhere below a bound.
    "lower-bound" => LowerBound,
    /// L̃ is not convex on a segment.
    "not-convex" => NotConvex,
    /// A point is not a partial optimum.
    "not-partial-optimum" => NotPartialOptimum,
    /// L̃ is no sum over encoder rows.
    "not-separable" => NotSeparable,
    /// The exact and the approximate loss under a finite distribution.
    "exact-loss" => ExactLoss,
    /// The rank of the Jacobian of the residuals.
    "jacobian-rank" => JacobianRank,
    /// A split of a neuron is realizable, or none is.
    "absorption" => Absorption,
    /// Relations between rational numbers.
    "arithmetic" => Arithmetic,
}

/// Column from which on short files are not indented any further: two for each value around.
const SHORT: usize = 8;

/// A certificate file.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// The problem it speaks of; absent for `arithmetic` alone.
    pub instance: Option<Problem>,
    /// What it proves.
    pub body: Body,
    /// Free text that no check reads.
    pub note: Option<String>,
}

impl Certificate {
    /// A certificate about `instance` without a note.
    pub fn new(instance: Problem, body: impl Into<Body>) -> Self {
        Self { instance: Some(instance), body: body.into(), note: None }
    }

    /// The file: indented JSON with sorted keys and a final line break, the hash of the instance included.
    pub fn to_json(&self) -> String {
        self.write().pretty(0, usize::MAX) + "\n"
    }

    /// As [`to_json`](Self::to_json), but a value within four others stands on one line: a row of a matrix, a tree. Shorter where trees are deep and
    /// numbers are many.
    pub fn to_short_json(&self) -> String {
        self.write().pretty(0, SHORT) + "\n"
    }

    /// Reads a file and compares the hash. Nothing is checked yet: see [`crate::check`].
    ///
    /// # Errors
    /// [`Cause::Format`](crate::Cause::Format) or [`Cause::Limit`](crate::Cause::Limit).
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        Self::read(Json::parse(text)?)
    }
}

impl Form for Certificate {
    fn read(json: Json) -> Result<Self, Refusal> {
        let mut fields = Fields::of(json)?;
        expect_version(&mut fields)?;
        let kind = fields.take::<String>("kind")?;
        let body = Body::read(&kind, fields.take("body")?).map_err(|refusal| refusal.within("body"))?;
        let instance = match body {
            Body::Arithmetic(_) => None,
            _ => {
                let instance = fields.take::<Problem>("instance")?;
                let (written, hash) = (fields.take::<String>("sha256")?, instance.sha256());
                if written != hash {
                    return Err(Refusal::format(format!("sha256: the instance has hash {hash}")));
                }
                Some(instance)
            }
        };
        let note = fields.take_optional("note")?;
        fields.finish()?;
        Ok(Self { instance, body, note })
    }

    fn write(&self) -> Json {
        let mut fields = vec![
            ("format", Json::Index(1)),
            ("kind", Json::Text(self.body.kind().to_owned())),
            ("body", self.body.write()),
        ];
        if let Some(instance) = &self.instance {
            fields.extend([("instance", instance.write()), ("sha256", Json::Text(instance.sha256()))]);
        }
        fields.extend(self.note.as_ref().map(|note| ("note", note.write())));
        Json::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }
}

/// serde through the one JSON form.
macro_rules! serde_form {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, sink: S) -> Result<S::Ok, S::Error> {
                self.write().serialize(sink)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
                Self::read(Json::deserialize(source)?).map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_form!(Certificate, Problem, Point, Rat, Number, Field);
