//! Settings, function calls and what else a session can do.

use super::runner::conversations;

conversations! {
    a_parameter_change_is_reported: "
        Q set application_name = 'changed'

        Q select current_setting('application_name')

        Q set timezone = 'Europe/Paris'; set datestyle = 'German'

        Q select '2020-01-02 03:04:05+00'::timestamptz

        Q reset all
    ";

    every_reported_parameter: "
        Q set client_encoding = 'LATIN1'

        Q set intervalstyle = 'iso_8601'

        Q set standard_conforming_strings = off

        Q select '1 day 2 hours'::interval, 'a\\\\nb'

        Q set standard_conforming_strings = on; set intervalstyle to default; set client_encoding to default
    ";

    a_local_parameter_change_is_taken_back: "
        Q begin; set local timezone = 'Asia/Tokyo'

        Q select '2020-01-02 03:04:05+00'::timestamptz

        Q commit

        Q select current_setting('timezone')
    ";

    a_parameter_change_is_rolled_back: "
        Q begin; set application_name = 'unwanted'; set datestyle = 'SQL, DMY'

        Q rollback

        Q select current_setting('application_name'), current_setting('datestyle')
    ";

    a_parameter_change_in_a_failed_batch: "
        P - set application_name = 'half'
        B - -
        E - 0
        P - select 1/0
        B - -
        E - 0
        S

        Q select current_setting('application_name')
    ";

    a_bad_parameter_value: "
        Q set timezone = 'Nowhere/Land'

        Q set no_such_setting = 1

        Q set client_encoding = 'KLINGON'
    ";

    a_function_sets_a_parameter: "
        Q select set_config('application_name', 'by function', false)

        Q select set_config('application_name', 'by function, locally', true)

        Q show application_name
    ";

    set_role_is_reported: "
        Q begin; set local role app; select current_user; commit
    ";

    discard_all: "
        P gone select 1
        S

        Q discard all

        Q select count(*) from pg_prepared_statements
    ";

    a_function_call_in_text: "
        F 1317 hello
    ";

    a_function_call_in_binary: "
        F 177 in=1 out=1 0x00000002 0x00000003
    ";

    a_function_call_with_null: "
        F 177 in=1 out=1 \\N 0x00000003
    ";

    a_function_call_that_fails: "
        F 154 in=0 out=0 1 0

        F 4294967295 x
    ";

    a_function_call_with_wrong_arguments: "
        F 177 in=1 out=1 0x00000002
    ";

    function_calls_in_a_transaction: "
        Q begin

        F 177 in=0 out=0 20 22

        F 154 in=0 out=0 1 0

        F 177 in=0 out=0 20 22

        Q rollback
    ";

    function_calls_in_a_pipeline: "
        F 177 in=0 out=0 1 2
        F 154 in=0 out=0 1 0
        Q select 3
        F 177 in=0 out=0 3 4
    ";

    a_big_function_call: "
        F 1317 {f*200000}
    ";

    temporary_tables_inside_a_transaction: "
        Q begin; create temp table scratch (id int) on commit drop; insert into scratch values (1)

        P - select count(*) from scratch
        B - -
        E - 0
        S

        Q commit
    ";

    two_phase_commit: "
        Q begin; insert into sink values (1); prepare transaction 'never committed twice'

        Q rollback prepared 'never committed twice'

        Q rollback prepared 'never committed twice'
    ";

    advisory_locks_inside_a_transaction: "
        Q begin; select pg_advisory_xact_lock(42); select pg_try_advisory_xact_lock(42)

        Q commit
    ";

    a_serialization_failure_is_passed_on: "
        Q begin isolation level repeatable read

        Q select count(*) from fruit

        Q do $$ begin raise exception 'could not serialize' using errcode = '40001'; end $$

        Q rollback
    ";

    a_notification_to_nobody: "
        Q notify nobody, 'payload'

        Q select pg_notify('nobody', 'payload')
    ";
}
