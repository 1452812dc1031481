//! Rows that are inserted together: a small row costs less than the statement that inserts it.

use rusqlite::{Connection, Result, Statement, ToSql};

/// So many rows are inserted by one statement, while there are as many.
const TOGETHER: [usize; 3] = [16, 4, 1];

/// How rows are inserted into a table.
pub(super) struct Insert {
    /// The statement up to its values.
    pub(super) into: &'static str,
    /// The number of columns.
    pub(super) columns: usize,
}

impl Insert {
    /// Inserts a row for each of these; `columns` hands over those of one.
    pub(super) fn all<T>(
        &self,
        connection: &Connection,
        mut of: &[T],
        columns: impl Fn(&T, &mut dyn FnMut(&[&dyn ToSql]) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        for rows in TOGETHER {
            if of.len() < rows {
                continue;
            }
            let mut statement = connection.prepare_cached(&self.sql(rows))?;
            while let Some((together, rest)) = of.split_at_checked(rows) {
                for (number, item) in together.iter().enumerate() {
                    columns(item, &mut |values| self.bind(&mut statement, number, values))?;
                }
                statement.raw_execute()?;
                of = rest;
            }
        }
        Ok(())
    }

    fn sql(&self, rows: usize) -> String {
        let row = format!("({})", vec!["?"; self.columns].join(","));
        format!("{} VALUES {}", self.into, vec![row.as_str(); rows].join(","))
    }

    /// Binds the values of one of the rows.
    fn bind(&self, statement: &mut Statement<'_>, number: usize, values: &[&dyn ToSql]) -> Result<()> {
        assert_eq!(values.len(), self.columns, "the values of a row of `{}`", self.into);
        let places = number * self.columns + 1..;
        places.zip(values).try_for_each(|(place, value)| statement.raw_bind_parameter(place, value))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::params;

    use super::*;

    #[test]
    fn all_rows_are_inserted_however_many_there_are() {
        let connection = Connection::open_in_memory().expect("it opens");
        connection
            .execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY, word TEXT)")
            .expect("it is created");
        let numbers = Insert { into: "INSERT INTO numbers", columns: 2 };
        let mut expected = Vec::new();
        for count in [0, 1, 3, 4, 15, 16, 17, 39] {
            let first = i64::try_from(expected.len()).expect("they are few");
            let new: Vec<i64> = (first..first + count).collect();
            numbers.all(&connection, &new, |number, take| take(params![number, number.to_string()])).expect("inserted");
            expected.extend(new);
            let sql = "SELECT number FROM numbers WHERE word = number ORDER BY number";
            let mut statement = connection.prepare(sql).expect("it is understood");
            let found = statement.query_map([], |row| row.get(0)).expect("it is asked");
            assert_eq!(found.collect::<Result<Vec<i64>>>().expect("they are numbers"), expected, "{count} more");
        }
    }
}
