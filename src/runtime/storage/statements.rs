//! Statements that are prepared once per connection.

/// Declares a struct of prepared statements, each with its SQL text.
macro_rules! statements {
    ($struct:ident { $($name:ident: $sql:expr;)* }) => {
        struct $struct<'c> {
            $($name: rusqlite::Statement<'c>,)*
        }

        impl<'c> $struct<'c> {
            fn prepare(connection: &'c rusqlite::Connection) -> rusqlite::Result<Self> {
                Ok(Self { $($name: connection.prepare(&$sql)?,)* })
            }
        }
    };
}

pub(super) use statements;
