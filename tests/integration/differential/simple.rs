//! The simple query protocol: strings of one, several and no statements, rows of every size, notices.

use super::runner::conversations;

conversations! {
    a_query_gives_rows: "
        Q select 1 as one, 'two' as two, null as three
    ";

    several_queries_follow_each_other: "
        Q select 1

        Q select 2

        Q select id, name from fruit order by id
    ";

    an_empty_query_is_answered: "
        Q

        Q ;

        Q  ;;; ; -- nothing

        Q /* nothing either */
    ";

    one_string_of_several_statements: "
        Q select 1; select 2; insert into sink values (1, 'a'), (2, 'b'); select 3 where false
    ";

    several_statements_with_empty_ones_between: "
        Q ; select 1;; select 2;
    ";

    several_statements_whose_second_fails: "
        Q select 1; select 1/0; select 3
    ";

    a_transaction_in_one_string: "
        Q begin; insert into sink values (1); commit; begin; select 2; rollback
    ";

    a_string_that_leaves_a_transaction_open: "
        Q select 1; begin; select 2

        Q select 3

        Q commit; select 4
    ";

    a_transaction_of_several_queries: "
        Q begin

        Q insert into sink values (7, 'seven')

        Q savepoint s

        Q select no_such_column from fruit

        Q rollback to savepoint s

        Q release savepoint s

        Q commit
    ";

    a_failed_transaction_refuses_everything_until_its_end: "
        Q begin isolation level serializable

        Q select 1/0

        Q select 1

        Q commit
    ";

    commits_and_rollbacks_outside_a_transaction_warn: "
        Q commit

        Q rollback

        Q begin; begin

        Q rollback
    ";

    commit_and_chain_keeps_the_transaction: "
        Q begin

        Q commit and chain

        Q rollback and chain

        Q rollback
    ";

    rows_of_every_type: "
        Q select true, 1::int2, 2::int4, 3::int8, 1.5::float4, 2.5::float8, 3.14::numeric, 'c'::char, 'n'::name
        Q select '\\\\x00ff'::bytea, '2020-01-02'::date, '12:34:56'::time, '1 day'::interval, '{1,2,3}'::int[], '{\"a\":1}'::jsonb
        Q select 'NaN'::float8, 'infinity'::timestamp, ''::text, row(1,'a',null), '[1,5)'::int4range, '(1,2)'::point
    ";

    a_row_of_many_columns: "
        Q select * from generate_series(1, 3) a, generate_series(1, 2) b, generate_series(1, 2) c, fruit d, fruit e where d.id = e.id
    ";

    rows_larger_than_any_buffer: "
        Q select repeat('x', 3000000) as big, 1 as small

        Q select repeat('y', 70000) from generate_series(1, 20)
    ";

    many_small_rows: "
        Q select i, 'row ' || i from generate_series(1, 20000) i
    ";

    rows_of_awkward_sizes: "
        Q select repeat('z', i) from generate_series(4060, 4110) i

        Q select repeat('z', i) from generate_series(8160, 8200) i

        Q select repeat('z', i) from generate_series(16350, 16400) i
    ";

    a_result_without_columns: "
        Q select

        Q select from generate_series(1, 3)
    ";

    a_query_larger_than_any_buffer: "
        Q select length('{q*400000}')

        Q select 1 /* {c*300000} */
    ";

    queries_of_awkward_sizes: "
        Q select length('{q*4070}')

        Q select length('{q*4071}')

        Q select length('{q*4072}')

        Q select length('{q*4073}')

        Q select length('{q*8168}')

        Q select length('{q*16360}')
    ";

    notices_come_between_the_rows: "
        Q select shout('one'), warn('two')

        Q do $$ begin for i in 1..50 loop raise notice 'notice %', i; end loop; end $$

        Q select warn('a ' || i) from generate_series(1, 5) i
    ";

    a_notice_larger_than_any_buffer: "
        Q select shout(repeat('n', 200000))
    ";

    notices_of_every_level: "
        Q set client_min_messages = debug1; do $$ begin raise debug 'd'; raise info 'i'; raise log 'l'; raise notice 'n'; raise warning 'w'; end $$; reset client_min_messages
    ";

    an_explain_and_a_show: "
        Q explain (costs off) select * from fruit

        Q show transaction_isolation

        Q show server_version
    ";

    text_that_looks_like_protocol: "
        Q select 'Z\\n\\n\\n\\n\\nI', 'E', chr(1), 'begin', $$commit; rollback$$ -- 'begin
    ";

    text_in_many_alphabets: "
        Q select 'Ünïcödé', '日本語', 'עברית', '🎉', length('日本語')
    ";

    quotes_and_comments_that_confuse_a_lexer: "
        Q select 'it''s', E'\\\\'quoted', $tag$ ; begin $tag$, \"?column?\" from (select 1) a /* /* nested */ begin; */

        Q select 1 -- a comment at the end

        Q select U&'d\\\\0061t\\\\+000061', 1 as \"be;gin\"
    ";

    ddl_and_its_tags: "
        Q begin; create table made_here (id int); alter table made_here add column a text; create index on made_here (a)

        Q truncate made_here; drop table made_here; rollback

        Q begin; create temp table gone (id int) on commit drop; insert into gone select generate_series(1, 10)

        Q update gone set id = id + 1; delete from gone where id > 5; commit
    ";

    cursors_in_sql: "
        Q begin; declare c cursor for select id from fruit order by id

        Q fetch 2 from c

        Q move 5 from c

        Q fetch backward all from c; close c

        Q commit
    ";

    an_insert_with_returning: "
        Q insert into sink select i, 'r' from generate_series(1, 100) i returning id, name

        Q with moved as (insert into sink values (1) returning id) select * from moved
    ";

    a_do_block_with_an_error_after_notices: "
        Q do $$ begin raise notice 'before'; raise exception 'after' using errcode = '22023', hint = 'h', column = 'c', table = 't'; end $$
    ";

    two_queries_in_one_packet: "
        Q select 1
        Q select 2
        Q select 3
    ";

    a_hundred_queries_in_one_packet: "
        Q select 1; select 2
        Q select repeat('w', 30000)
        Q insert into sink values (5)
        Q select 1/0
        Q begin
        Q select nothing
        Q select 1
        Q rollback
        Q
        Q select repeat('v', 100000) from generate_series(1, 10)
    ";
}
