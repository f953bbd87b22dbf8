//! Statements that are prepared once for each connection.

/// Declares a struct of statements, each with its text; `prepare` makes it for a connection.
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
