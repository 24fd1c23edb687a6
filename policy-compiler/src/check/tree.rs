//! In: the events of a YAML document. Out: its value tree, bounded in size.
//!
//! Aliases expand while reading, so the bound is on what they expand to and not on the text.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::problems::quoted;

/// Cost of a whole tree: 8 MiB of text and nodes, eight times the input limit.
const BUDGET: usize = 8 << 20;

/// Cost of one node, about what a node without text takes in memory.
const NODE_COST: usize = 32;

/// Reads one tree; elements share the remaining budget.
pub(super) struct Tree {
    left: Cell<usize>,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self { left: Cell::new(BUDGET) }
    }

    fn spend<E: Error>(&self, text: usize) -> Result<(), E> {
        let left = self.left.get().checked_sub(NODE_COST + text);
        self.left.set(left.ok_or_else(|| E::custom("too large once its aliases are expanded"))?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &Tree {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a plain value, list or object")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.spend(0).map(|()| Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.spend(0).map(|()| Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.spend(0).map(|()| value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.spend(0).map(|()| value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.spend(0)?;
        let number = Number::from_f64(value).ok_or_else(|| E::custom("a number that is not finite"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.spend(value.len()).map(|()| value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(A::Error::custom("a tag, such as `!name`, has no meaning in a policy"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let mut fields = Map::new();
        while let Some(key) = access.next_key_seed(self)? {
            let Value::String(key) = key else {
                return Err(A::Error::custom("a key that is not text; quote it"));
            };
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("duplicate key {}", quoted(&key))));
            }
            let value = access.next_value_seed(self)?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}
