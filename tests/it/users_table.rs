//! The users table of the earlier system, and of other programs that own it.

use cruddur_messaging::users::{NewUser, Registered, Users, UsersError};

use crate::harness::postgres_relay::relayed;
use crate::harness::{eventually, test, user_in};

async fn execute(users: &Users, statements: &[&'static str]) {
    for statement in statements {
        sqlx::query(*statement).execute(users.pool()).await.expect(statement);
    }
}

fn new_user(handle: &str, email: Option<&str>) -> NewUser {
    NewUser {
        display_name: handle.to_owned(),
        handle: handle.to_owned(),
        email: email.map(str::to_owned),
        cognito_user_id: format!("sub of {handle}"),
    }
}

#[test]
fn tables_of_the_earlier_system_are_adopted_with_and_without_e_mail_addresses() {
    test(async {
        let (_postgres, _relay, users) = relayed().await;
        for email in ["", "email text NOT NULL,"] {
            execute(&users, &["DROP TABLE public.users", "DROP TABLE public._sqlx_migrations"]).await;
            let table = format!(
                "CREATE TABLE public.users (uuid UUID PRIMARY KEY DEFAULT gen_random_uuid(), display_name text NOT NULL,
                 handle text NOT NULL, {email} cognito_user_id text NOT NULL, created_at TIMESTAMP DEFAULT current_timestamp NOT NULL)"
            );
            sqlx::query(sqlx::AssertSqlSafe(table)).execute(users.pool()).await.expect("a table");
            for _ in 0..2 {
                users.migrate().await.expect("migrations");
            }
            assert_eq!(users.register(&new_user("ana", None)).await.expect("a result"), Registered::Added);
            assert_eq!(
                users.register(&new_user("ben", Some("b@example.com"))).await.expect("a result"),
                Registered::Added
            );
        }
        // Another program may have made them unique.
        execute(&users, &["ALTER TABLE public.users ADD UNIQUE (email)"]).await;
        let registered = users.register(&new_user("chloe", Some("b@example.com"))).await;
        assert_eq!(registered.expect("a result"), Registered::OtherValueTaken);
    });
}

#[test]
fn an_index_that_lets_two_users_have_a_handle_is_found() {
    test(async {
        let (_postgres, _relay, users) = relayed().await;
        assert!(users.handles_are_unique().await.expect("a result"));
        // The migration finds an index with this name, and creates none.
        execute(
            &users,
            &[
                "DROP INDEX public.users_handle_key",
                "CREATE INDEX users_handle_key ON public.users (handle)",
                "DELETE FROM public._sqlx_migrations",
            ],
        )
        .await;
        users.migrate().await.expect("migrations");
        assert!(!users.handles_are_unique().await.expect("a result"));
    });
}

/// PostgreSQL: "cached plan must not change result type".
#[test]
fn a_query_fails_at_most_once_after_its_columns_were_altered() {
    test(async {
        let (_postgres, _relay, users) = relayed().await;
        let ana = user_in(&users, "ana").await;
        let found = || async { users.by_handle(ana.handle()).await.map(|user| user.is_some()) };
        assert!(found().await.expect("a result"));
        execute(&users, &["ALTER TABLE public.users ALTER COLUMN display_name TYPE varchar(200)"]).await;
        let error = found().await.expect_err("a statement that was prepared before");
        assert!(matches!(error, UsersError::Unavailable(_)), "{error:?}");
        eventually("the user", || async { found().await.ok().filter(|found| *found) }).await;
    });
}
