//! COPY in and out, by both protocols, with everything that can go wrong in it.

use super::runner::conversations;

conversations! {
    copy_out: "
        Q copy fruit to stdout

        Q copy (select id, name from fruit order by id) to stdout with (format csv, header)

        Q copy fruit to stdout with (format binary)
    ";

    copy_out_of_many_rows: "
        Q copy (select i, repeat('o', 100) from generate_series(1, 20000) i) to stdout
    ";

    copy_out_of_big_rows: "
        Q copy (select repeat('o', 500000) from generate_series(1, 4)) to stdout
    ";

    copy_out_that_fails_in_the_middle: "
        Q copy (select 100 / (50 - i), repeat('f', 1000) from generate_series(1, 100) i) to stdout
    ";

    copy_out_by_the_extended_protocol: "
        P - copy fruit to stdout
        B - -
        E - 0
        S
    ";

    copy_out_between_other_statements: "
        Q select 1; copy fruit to stdout; select 2; copy fruit to stdout
    ";

    copy_in: "
        Q copy sink from stdin
        < G

        d 1\\tone\\n
        d 2\\ttwo\\n
        c
        < Z
    ";

    copy_in_with_all_sent_at_once: "
        Q copy sink from stdin
        d 1\\tone\\n
        d 2\\ttwo\\n
        c
    ";

    copy_in_cut_at_odd_places: "
        Q copy sink from stdin
        d 1
        d \\ton
        d e\\n2\\ttwo\\n3\\tthr
        d
        d ee\\n
        c
    ";

    copy_in_without_any_row: "
        Q copy sink from stdin
        c
    ";

    copy_in_of_big_data: "
        Q copy sink from stdin
        d 1\\t{x*300000}\\n
        d 2\\t{y*70000}
        d {z*70000}\\n
        c
    ";

    copy_in_of_many_small_messages: "
        Q copy sink from stdin
        d 1\\ta\\n
        d 2\\tb\\n
        d 3\\tc\\n
        d 4\\td\\n
        d 5\\te\\n
        d 6\\tf\\n
        d 7\\tg\\n
        d 8\\th\\n
        c
    ";

    copy_in_with_flush_and_sync_inside: "
        Q copy sink from stdin
        < G

        H
        S
        d 1\\tone\\n
        S
        H
        c
        < Z
    ";

    copy_in_given_up: "
        Q copy sink from stdin
        < G

        d 1\\tone\\n
        f changed my mind
        < Z
    ";

    copy_in_of_bad_data: "
        Q copy sink from stdin
        < G

        d notanumber\\tone\\n
        c
        < Z
    ";

    copy_in_of_bad_data_with_more_behind_it: "
        Q copy sink from stdin
        < G

        d notanumber\\tone\\n
        d 2\\ttwo\\n
        d 3\\tthree\\n
        d {x*200000}
        c
        < Z
    ";

    copy_in_of_bad_data_given_up: "
        Q copy sink from stdin
        < G

        d notanumber\\tone\\n
        f me too
        < Z
    ";

    copy_in_into_what_does_not_exist: "
        Q copy nowhere from stdin
        d 1\\tone\\n
        c
    ";

    copy_in_that_never_starts_in_a_transaction: "
        Q begin

        Q copy nowhere from stdin
        d 1\\tone\\n
        c

        Q rollback
    ";

    copy_in_inside_a_transaction: "
        Q begin

        Q copy sink from stdin
        < G

        d 1\\tone\\n
        c
        < Z

        Q commit
    ";

    copy_in_given_up_inside_a_transaction: "
        Q begin

        Q copy sink from stdin
        < G

        f no
        < Z

        Q select 1

        Q rollback
    ";

    copy_in_between_other_statements: "
        Q select 1; copy sink from stdin; select 2; copy sink from stdin; select 3
        < G

        d 1\\tone\\n
        c
        < G

        d 2\\ttwo\\n
        c
        < Z
    ";

    copy_in_given_up_between_other_statements: "
        Q select 1; copy sink from stdin; select 2
        < G

        f no more
        < Z
    ";

    copy_in_by_the_extended_protocol: "
        P - copy sink from stdin
        B - -
        E - 0
        H
        < G

        d 1\\tone\\n
        c
        S
    ";

    copy_in_by_the_extended_protocol_as_libpq_sends_it: "
        P - copy sink from stdin
        B - -
        D P -
        E - 0
        S
        < G

        d 1\\tone\\n
        d 2\\ttwo\\n
        c
        S
    ";

    copy_in_by_the_extended_protocol_given_up: "
        P - copy sink from stdin
        B - -
        E - 0
        S
        < G

        d 1\\tone\\n
        f stop
        S
    ";

    copy_in_by_the_extended_protocol_of_bad_data: "
        P - copy sink from stdin
        B - -
        E - 0
        S
        < G

        d notanumber\\n
        c
        S

        Q select 'in step'
    ";

    copy_in_by_a_named_statement_twice: "
        P copier copy sink from stdin
        B - copier
        E - 0
        S
        < G

        d 1\\tone\\n
        c
        S

        B - copier
        E - 0
        S
        < G

        c
        S

        C S copier
        S
    ";

    copy_in_with_the_next_query_behind_it: "
        Q copy sink from stdin
        d 1\\tone\\n
        c
        Q select 'behind'
    ";

    copy_in_of_binary_data: "
        Q copy sink from stdin with (format binary)
        ! 640000001950
        ! 47434f50590aff0d0a000000000000000000ffff
        c
    ";

    copy_data_without_a_copy_is_ignored: "
        d stray\\n
        c
        f stray
        Q select 1
    ";

    a_query_during_copy_in_ends_it: "
        Q copy sink from stdin
        < G

        Q select 1
        < EOF
    ";
}
