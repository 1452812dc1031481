//! The same tests on both ledgers.

/// Runs each of these on SQLite and on PostgreSQL: functions of a `Kind`.
macro_rules! on_both_ledgers {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::support::store::Kind::Sqlite).await;
                }
            )+
        }

        mod on_postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    super::$test(crate::support::store::Kind::Postgres).await;
                }
            )+
        }
    };
}
