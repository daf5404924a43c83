//! Prepared statements: what becomes of the unnamed one, of names in pipelines with errors, and of `DEALLOCATE`.

use super::runner::conversations;

conversations! {
    the_unnamed_statement_lives_over_syncs: "
        P - (25) select $1 || '!'
        D S -
        S

        B - - first
        E - 0
        S

        D S -
        B - - second
        D P -
        E - 0
        S
    ";

    a_simple_query_destroys_the_unnamed_statement: "
        P - select 'gone'
        S

        Q select 'between'

        B - -
        E - 0
        S

        P - select 'gone too'
        S

        Q selec

        D S -
        S
    ";

    a_failed_parse_destroys_the_unnamed_statement: "
        P - select 'gone'
        S

        P - selec
        S

        B - -
        E - 0
        S
    ";

    a_skipped_parse_destroys_nothing: "
        P - select 'still there'
        S
        P wrong selec
        P - select 'skipped'
        C S -
        Q select 'skipped too'
        S
        B - -
        E - 0
        S
        < Z 3
    ";

    a_closed_unnamed_statement_is_gone: "
        P - select 'gone'
        S

        C S -
        S

        B - -
        E - 0
        S
    ";

    the_unnamed_statement_lives_over_a_failed_transaction: "
        P end rollback
        P - select 'still there'
        S

        P start begin
        B - start
        E - 0
        P - select 'in the block'
        S

        P fail select 1/0
        B - fail
        E - 0
        S

        B - -
        E - 0
        S

        B - end
        E - 0
        S

        B - -
        E - 0
        S
    ";

    a_pipeline_of_unnamed_statements_with_errors: "
        P - select 'one'
        S
        B - -
        E - 0
        S
        P - selec
        S
        B - -
        E - 0
        S
        P - select 'two'
        B - -
        E - 0
        S
        B - -
        E - 0
        S
        Q select 'three'
        B - -
        E - 0
        S
        D S -
        S
    ";

    deallocate_all_spares_the_unnamed_statement: "
        P all deallocate all
        P - select 'spared'
        S

        B portal all
        E portal 0
        S

        B - -
        E - 0
        S

        B - all
        S
    ";

    a_name_whose_first_parse_fails_is_free_behind_the_sync: "
        P s selec
        S
        P s select 'accepted'
        B - s
        E - 0
        S
    ";

    a_name_whose_first_parse_fails_is_skipped_up_to_the_sync: "
        P s selec
        P s select 'skipped'
        B - s
        E - 0
        S
        B - s
        E - 0
        S
    ";

    a_skipped_parse_defines_nothing: "
        P wrong selec
        P s select 'skipped'
        S
        B - s
        E - 0
        S
        P s select 'accepted'
        D S s
        B - s
        E - 0
        S
    ";

    a_skipped_close_takes_nothing_away: "
        P s select 'still there'
        S

        P wrong selec
        C S s
        S
        B - s
        E - 0
        S
        P s select 'twice'
        S
    ";

    what_is_skipped_after_an_error_that_has_arrived_changes_nothing: "
        P s select 'still there'
        S

        P wrong selec
        H
        < E

        C S s
        P t select 'skipped'
        P - select 'skipped'
        S

        B - s
        E - 0
        S
        B - t
        S
        B - -
        S
    ";

    a_name_closed_and_given_again_in_a_pipeline: "
        P s select 'first'
        S
        C S s
        S
        P s select 'second'
        S
        B - s
        E - 0
        S
        C S s
        P s selec
        S
        B - s
        E - 0
        S
    ";

    a_name_given_twice_with_a_text_that_is_wrong: "
        P s select 1
        P s selec
        S
        P s select 2
        S
        B - s
        E - 0
        S
    ";

    parse_in_a_failed_transaction_of_what_is_known_already: "
        P s select 'known'
        S

        Q begin

        P fail select 1/0
        B - fail
        E - 0
        S

        P t select 'known'
        S

        P s rollback
        S

        P u rollback
        B - u
        E - 0
        S

        B - t
        S

        B - s
        E - 0
        S
    ";

    deallocate_takes_a_name_away: "
        P s select 'there'
        P t select 'there too'
        S

        Q deallocate s

        B - s
        E - 0
        S

        B - t
        E - 0
        S

        Q deallocate s

        Q DEALLOCATE /* a comment */ PREPARE \"t\";

        P t select 'again'
        B - t
        E - 0
        S
    ";

    deallocate_folds_what_is_not_quoted: "
        P Mixed select 'there'
        S

        Q deallocate Mixed

        B - Mixed
        E - 0
        S

        Q deallocate \"Mixed\"

        B - Mixed
        S
    ";

    deallocate_among_other_statements: "
        P a select 'a'
        P b select 'b'
        P c select 'c'
        S

        Q select 1; deallocate a; select 'x; deallocate c;', $$; deallocate c; $$; deallocate b

        B - a
        S

        B - b
        S

        B - c
        E - 0
        S
    ";

    deallocate_among_statements_that_fail: "
        P a select 'a'
        P b select 'b'
        S

        Q deallocate a; select 1/0; deallocate b

        B - a
        S

        B - b
        E - 0
        S

        Q deallocate b; deallocate b

        B - b
        S

        P b select 'b again'
        B - b
        E - 0
        S

        Q selec; deallocate b

        B - b
        E - 0
        S
    ";

    deallocate_in_a_failed_transaction: "
        P s select 'there'
        S

        Q begin

        Q select 1/0

        Q deallocate s

        Q rollback

        B - s
        E - 0
        S
    ";

    deallocate_in_a_block_that_failed_and_ended_before_the_sync: "
        P s rollback
        S

        Q begin

        Q select 1/0

        B - s
        E - 0
        Q deallocate s

        S

        B - s
        S
    ";

    deallocate_is_not_rolled_back: "
        P s select 'there'
        S

        Q begin

        Q deallocate s

        Q rollback

        B - s
        S
    ";

    deallocate_in_the_extended_protocol: "
        P s select 'there'
        S

        P - deallocate s
        D S -
        B - -
        D P -
        E - 0
        S

        B - s
        S

        P s select 'again'
        P d deallocate s
        S

        B - d
        E - 0
        S

        B - d
        E - 0
        S

        P - deallocate nobody
        B - -
        E - 0
        S
    ";

    deallocate_by_an_unnamed_statement_of_an_earlier_batch: "
        P s select 'there'
        P - deallocate s
        S

        B - -
        E - 0
        S

        B - s
        S
    ";

    deallocate_in_a_pipeline: "
        P s select 'first'
        S
        Q deallocate s
        P s select 'second'
        B - s
        E - 0
        S
        Q deallocate s; deallocate s
        B - s
        E - 0
        S
        P - deallocate s
        B - -
        E - 0
        P s select 'third'
        B - s
        E - 0
        S
        P s select 'third'
        P - deallocate s
        B - -
        E - 0
        P s select 'fourth'
        B - s
        E - 0
        S
    ";

    deallocate_amid_an_unfinished_batch: "
        P s select 'there'
        Q deallocate s
        B - s
        S
    ";

    deallocate_all_takes_all_names_away: "
        P s select 'there'
        S

        Q deallocate all

        B - s
        S

        P s select 'again'
        B - s
        E - 0
        S

        Q deallocate all
        P s select 'once more'
        B - s
        E - 0
        S
        B - s
        E - 0
        S
    ";

    discard_of_plans_takes_no_name_away_and_of_all_takes_all: "
        P s select 'there'
        S

        Q discard plans

        B - s
        E - 0
        S

        Q discard all

        B - s
        S
    ";
}
