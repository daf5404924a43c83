//! The extended query protocol: statements, portals, formats, limits, Describe and Close.

use super::runner::conversations;

conversations! {
    the_unnamed_statement_and_portal: "
        P - select $1::int + $2::int as sum
        B - - 1 2
        D P -
        E - 0
        S
    ";

    a_named_statement_is_used_again: "
        P again select name from fruit where id = $1
        D S again
        S

        B - again 1
        E - 0
        S

        B - again 2
        D P -
        E - 0
        S

        C S again
        S
    ";

    the_unnamed_statement_is_bound_again_in_the_next_batch: "
        Q begin

        P - (23) select $1 * 2
        S

        B - - 21
        E - 0
        S

        B - - 4
        E - 0
        S

        Q commit
    ";

    a_portal_with_a_row_limit_is_continued: "
        Q begin

        P rows select i from generate_series(1, 7) i
        B portal rows
        E portal 3
        E portal 3
        E portal 3
        E portal 3
        C P portal
        C S rows
        S

        Q commit
    ";

    a_portal_lives_over_a_sync_inside_a_transaction: "
        Q begin

        P - select i, repeat('p', 100) from generate_series(1, 5) i
        B kept - out=0
        E kept 2
        S

        E kept 2
        S

        Q select 'between'

        E kept 0
        S

        Q rollback
    ";

    a_portal_dies_with_its_implicit_transaction: "
        P - select i from generate_series(1, 5) i
        B portal -
        E portal 2
        S

        E portal 2
        S
    ";

    two_portals_take_turns: "
        P odd select i from generate_series(1, 9, 2) i
        P even select i from generate_series(2, 8, 2) i
        B a odd
        B b even
        E a 1
        E b 1
        E a 1
        E b 1
        E a 0
        E b 0
        C P a
        C P b
        C S odd
        C S even
        S
    ";

    binary_parameters_and_results: "
        P - (23,20,25,17) select $1, $2, $3, $4
        B - - in=1 out=1 0x0000002a 0x0000000100000000 0x68656c6c6f 0x00ff00ff
        D P -
        E - 0
        S
    ";

    mixed_formats_per_column: "
        P - select $1::int4, $2::text, $3::float8
        B - - in=1,0,0 out=0,1,1 0x00000007 seven 7.5
        D P -
        E - 0
        S
    ";

    null_parameters_and_empty_text: "
        P - select $1::int is null, $2::text = '', $2::text
        B - - \\N 0x
        E - 0
        S
    ";

    parameters_of_unknown_type_are_described: "
        P typed select * from fruit where id = $1 and name like $2
        D S typed
        C S typed
        S
    ";

    a_statement_without_rows_is_described: "
        P - insert into sink values ($1, $2)
        D S -
        B - - 1 one
        D P -
        E - 0
        S
    ";

    an_empty_statement: "
        P -
        D S -
        B - -
        D P -
        E - 0
        S
    ";

    insert_with_returning_and_a_limit: "
        P - insert into sink select i from generate_series(1, 10) i returning id
        B - -
        E - 4
        E - 4
        E - 4
        S
    ";

    an_update_runs_to_its_end_whatever_the_limit: "
        Q begin

        P - update fruit set name = upper(name)
        B - -
        E - 1
        S

        Q rollback
    ";

    closing_what_does_not_exist_is_fine: "
        C S never
        C P never
        S
    ";

    flush_brings_answers_without_a_sync: "
        P flushed select $1::text
        H
        < 1

        D S flushed
        H
        < T

        B - flushed hello
        E - 0
        H
        < C

        C S flushed
        S
    ";

    flush_after_an_error_and_then_sync: "
        P - select nonsense from nowhere
        H
        < E

        P - select 1
        B - -
        E - 0
        H
        S
    ";

    flush_alone_and_sync_alone: "
        H
        S

        S

        S
        S
        S
    ";

    a_big_statement_and_a_big_parameter: "
        P - select length($1::text), length('{s*100000}')
        B - - {p*500000}
        E - 0
        S
    ";

    a_big_parameter_comes_back: "
        P - select $1::text, $1::text || 'x'
        B - - {p*100000}
        D P -
        E - 0
        S
    ";

    many_parameters: "
        P - select $1::int+$2::int+$3::int+$4::int+$5::int+$6::int+$7::int+$8::int+$9::int+$10::int, $11::text || $12
        B - - 1 2 3 4 5 6 7 8 9 10 eleven twelve
        E - 0
        S
    ";

    transactions_by_the_extended_protocol: "
        P - begin
        B - -
        E - 0
        S

        P - insert into sink values (1)
        B - -
        E - 0
        S

        P - commit
        B - -
        E - 0
        S
    ";

    sql_prepare_and_execute: "
        Q prepare by_sql (int) as select name from fruit where id = $1; execute by_sql(2); deallocate by_sql
    ";

    sql_execute_of_a_protocol_statement_in_one_transaction: "
        Q begin

        P - select 1
        S

        P inner_one select 5 as five
        B - inner_one
        E - 0
        C S inner_one
        S

        Q commit
    ";

    a_cursor_made_by_sql_is_a_portal: "
        Q begin; declare sqlcursor cursor for select i from generate_series(1, 6) i

        D P sqlcursor
        E sqlcursor 2
        S

        E sqlcursor 0
        C P sqlcursor
        S

        Q commit
    ";

    the_row_type_of_a_replaced_unnamed_statement: "
        P - select 1 as a
        D S -
        P - select 'x'::text as b, 2 as c
        D S -
        B - -
        E - 0
        S
    ";

    a_simple_query_between_parse_and_bind_of_a_named_statement: "
        Q begin

        P middle select $1::int
        S

        Q select 'simple'

        B - middle 5
        E - 0
        C S middle
        S

        Q commit
    ";

    parallel_statements_with_types: "
        P one (16,701,1043) select $1, $2, $3
        P two (1082) select $1 + 1
        D S one
        D S two
        B p1 one t 2.5 varchar
        B p2 two 2020-02-28
        E p1 0
        E p2 0
        C S one
        C S two
        S
    ";

    copy_of_rows_with_ten_thousand_executes_in_a_portal: "
        P - select i, repeat('k', 300) from generate_series(1, 3000) i
        B - - out=1
        E - 1000
        E - 1000
        E - 1000
        E - 1000
        S
    ";
}
