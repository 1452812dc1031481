//! The cells of PostgreSQL's rows, as every reader here takes them.

use std::error::Error;

use rusqlite::types::ValueRef;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

use crate::ledger::cells::Cells;

/// A cell that knows what it is.
struct Cell<'a>(ValueRef<'a>);

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *kind {
            Type::INT8 => ValueRef::Integer(i64::from_sql(kind, raw)?),
            Type::INT4 => ValueRef::Integer(i32::from_sql(kind, raw)?.into()),
            Type::BOOL => ValueRef::Integer(bool::from_sql(kind, raw)?.into()),
            Type::BYTEA => ValueRef::Blob(raw),
            _ => ValueRef::Text(raw),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA | Type::TEXT | Type::VARCHAR | Type::NAME)
    }
}

impl Cells for Row {
    fn cell(&self, index: usize) -> rusqlite::Result<ValueRef<'_>> {
        let cell = self.try_get::<_, Cell<'_>>(index);
        cell.map(|cell| cell.0).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
    }

    fn index_of(&self, name: &str) -> rusqlite::Result<usize> {
        let found = self.columns().iter().position(|column| column.name() == name);
        found.ok_or_else(|| rusqlite::Error::InvalidColumnName(name.to_owned()))
    }
}
