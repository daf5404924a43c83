//! Many messages ahead of their answers: batches in a row, errors among them, more than any buffer holds.

use super::runner::conversations;

conversations! {
    three_batches_at_once: "
        P - select 1
        B - -
        E - 0
        S
        P - select 2
        B - -
        E - 0
        S
        P - select 3
        B - -
        E - 0
        S
    ";

    one_batch_of_many_statements_is_one_transaction: "
        P - insert into sink values (1)
        B - -
        E - 0
        P - insert into sink values (2)
        B - -
        E - 0
        P - select 'third'
        B - -
        E - 0
        S
    ";

    simple_and_extended_mixed: "
        Q select 1
        P - select 2
        B - -
        E - 0
        S
        Q select 3
        P - select 4
        B - -
        E - 0
        S
    ";

    a_query_amid_an_unfinished_batch: "
        P - select 'extended'
        B - -
        E - 0
        Q select 'simple'
        S
    ";

    a_query_is_skipped_after_an_error_in_the_batch: "
        P - select 1/0
        B - -
        E - 0
        Q select 'skipped'
        S
        Q select 'not skipped'
        < Z 2
    ";

    a_transaction_in_one_pipeline: "
        P - begin
        B - -
        E - 0
        S
        P - insert into sink values (3)
        B - -
        E - 0
        S
        P - select 1
        B - -
        E - 0
        S
        P - commit
        B - -
        E - 0
        S
    ";

    an_error_in_a_pipelined_transaction: "
        P - begin
        B - -
        E - 0
        S
        P - select 1/0
        B - -
        E - 0
        S
        P - select 'refused'
        B - -
        E - 0
        S
        P - rollback
        B - -
        E - 0
        S
        P - select 'fine'
        B - -
        E - 0
        S
    ";

    a_transaction_inside_one_batch: "
        P - begin
        B - -
        E - 0
        P - insert into sink values (4)
        B - -
        E - 0
        P - commit
        B - -
        E - 0
        P - select 'after'
        B - -
        E - 0
        S
    ";

    big_rows_in_a_pipeline: "
        P - select repeat('a', 200000)
        B - -
        E - 0
        P - select repeat('b', 200000) from generate_series(1, 5)
        B - -
        E - 2
        E - 2
        E - 2
        S
        Q select repeat('c', 300000)
        Q select repeat('d', 300000)
    ";

    big_requests_in_a_pipeline: "
        P - select length($1::text)
        B - - {p*150000}
        E - 0
        B - - {q*150000}
        E - 0
        B - - {r*4096}
        E - 0
        B - - {s*4087}
        E - 0
        S
        Q select length('{t*200000}')
    ";

    parse_and_describe_many_before_one_sync: "
        P a1 select 1
        P a2 select $1::int
        P a3 select $1::text, $2::int
        D S a1
        D S a2
        D S a3
        C S a1
        C S a2
        C S a3
        S
    ";

    flushes_inside_a_pipeline: "
        P - select 1
        H
        B - -
        H
        D P -
        H
        E - 0
        H
        S
    ";

    a_statement_is_closed_and_made_again: "
        P name select 1
        C S name
        P name select 2
        B - name
        E - 0
        C S name
        S
    ";

    a_batch_that_ends_with_an_error_and_one_that_begins_with_it: "
        P - select 1
        B - -
        E - 0
        P - select 1/0
        B - -
        E - 0
        S
        P - nonsense
        P - select 2
        B - -
        E - 0
        S
    ";

    savepoints_in_a_pipeline: "
        Q begin
        Q savepoint a
        Q select 1/0
        Q rollback to a
        Q select 'saved'
        Q commit
    ";

    terminate_behind_the_last_query: "
        Q select 'last words'
        X
        < EOF
    ";

    terminate_behind_an_open_transaction: "
        Q begin
        Q insert into sink values (99)
        X
        < EOF
    ";
}
