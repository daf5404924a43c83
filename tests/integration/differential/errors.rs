//! Errors in every phase: at parse, bind, describe and execute, in the middle of rows, at commit, of every kind.

use super::runner::conversations;

conversations! {
    a_syntax_error_has_a_position: "
        Q selec 1

        Q select 1 from where
    ";

    an_error_in_the_middle_of_rows: "
        Q select 100 / (5 - i) from generate_series(1, 10) i

        Q select repeat('m', 50000), 1 / (3 - i) from generate_series(1, 10) i
    ";

    an_error_raised_by_a_function: "
        Q select fail('on purpose')

        P - select fail($1)
        B - - extended
        E - 0
        S
    ";

    an_error_larger_than_any_buffer: "
        Q do $$ begin raise exception '%', repeat('e', 150000) using detail = repeat('d', 100000); end $$
    ";

    constraints_name_their_table: "
        Q insert into bounded values (500)

        Q insert into fruit values (1, 'again')

        Q insert into fruit values (9, null)
    ";

    permission_is_denied: "
        Q select * from pg_authid

        Q set session_replication_role = replica
    ";

    an_error_at_parse: "
        P broken select from from
        S

        P broken select missing_column from fruit
        D S broken
        B - broken
        E - 0
        S
    ";

    an_error_at_bind: "
        P - select $1::int
        B - - notanumber
        E - 0
        S

        P - (23) select $1
        B - - in=1 0x0001
        E - 0
        S

        P - select $1::int
        B - -
        S

        P - select $1::int
        B - - 1 2
        S
    ";

    an_error_at_describe: "
        D P missing
        S

        D P -
        S
    ";

    an_error_at_execute: "
        P - select 1 / $1::int
        B - - 0
        D P -
        E - 0
        S

        E missing 0
        S
    ";

    an_error_after_some_rows_of_a_portal: "
        Q begin

        P - select 10 / (3 - i) from generate_series(1, 5) i
        B failing -
        E failing 1
        E failing 1
        E failing 1
        E failing 1
        S

        Q rollback
    ";

    an_error_at_the_implicit_commit: "
        Q insert into child values (1)

        P - insert into child values (2)
        B - -
        E - 0
        S

        Q begin; insert into child values (3)

        Q commit
    ";

    two_errors_in_two_batches_sent_at_once: "
        P - select 1/0
        B - -
        E - 0
        S
        P - nonsense
        S
        P - select 'fine'
        B - -
        E - 0
        S
    ";

    messages_after_an_error_are_skipped_up_to_the_sync: "
        P - select 1/0
        B - -
        E - 0
        P skipped select 1
        B - skipped
        E - 0
        C S skipped
        D S skipped
        H
        S

        D P skipped
        S
    ";

    an_error_in_a_transaction_spoils_the_rest_of_it: "
        Q begin

        P - nonsense
        S

        P - select 1
        B - -
        E - 0
        S

        P - rollback
        B - -
        E - 0
        S
    ";

    a_duplicate_statement_in_one_batch: "
        P twice select 1
        P twice select 2
        S

        C S twice
        S
    ";

    a_duplicate_portal_in_one_batch: "
        P - select 1
        B same -
        B same -
        S
    ";

    several_statements_are_refused_by_parse: "
        P - select 1; select 2
        S
    ";

    too_little_stack_and_too_big_values: "
        Q select repeat('x', 2000000000)

        Q select '{z*70000}'::int
    ";

    a_statement_timeout: "
        Q begin; set local statement_timeout = 50

        Q select pg_sleep(10)

        Q rollback
    ";

    a_statement_timeout_after_rows: "
        Q begin; set local statement_timeout = 100

        P - select i, pg_sleep(case when i > 3 then 10 else 0 end) from generate_series(1, 10) i
        B - -
        E - 0
        S

        Q rollback
    ";

    a_lock_timeout: "
        Q begin; set local lock_timeout = 50; lock table fruit in access share mode

        Q rollback
    ";

    an_invalid_encoding: "
        Q select convert_from('\\\\xff', 'UTF8')
    ";

    an_unknown_function_and_a_hint: "
        Q select no_such_function(1)

        Q select naem from fruit
    ";
}
