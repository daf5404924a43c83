# DBD::Pg: statements are prepared on the server at their second use, unless told otherwise.
use strict;
use warnings;
use utf8;
use DBI;
use DBD::Pg qw(:async :pg_types);

$| = 1;
my $RISING = join ',', 1 .. 20_000;

sub connected {
    my ($options) = @_;
    # The rest is in PGHOST and its kind.
    return DBI->connect('dbi:Pg:' . ($options // ''), '', '', { RaiseError => 1, PrintError => 0, AutoCommit => 1 });
}

sub equal {
    my ($found, $expected) = @_;
    die substr($found // 'nothing', 0, 100) . " instead of $expected\n" if ($found // 'nothing') ne $expected;
}

sub refused {
    my ($state, $action) = @_;
    eval { $action->(); 1 } and die "no error, instead of $state\n";
    die $@ if $state && $DBI::state ne $state;
}

sub one {
    my ($db, $text, @values) = @_;
    return $db->selectrow_array($text, undef, @values);
}

my %scenarios = (
    connect => sub {
        equal(one($_[0], 'select 1'), 1);
        refused('', sub { connected("sslrootcert=$ENV{STRANGER_CA}") });
    },
    channel_binding => sub { equal(one(connected('channel_binding=require'), 'select 1'), 1) },
    simple_query => sub {
        my ($db) = @_;
        equal(one($db, 'select name from people where id = 7'), 'name 7');
        $db->do('select 1; select 2');
    },
    parameters => sub {
        my ($db) = @_;
        my $statement = $db->prepare(
            'select ?::int8, ?::numeric, ?::text, ?::bool, ?::int[], ?::jsonb, ?::text, ?::bytea');
        for (1 .. 3) {
            $statement->bind_param(8, "\0\xff", { pg_type => PG_BYTEA });
            $statement->bind_param($_->[0], $_->[1])
                for [1, 2**40], [2, '12.345'], [3, 'größer ☃'], [4, 'true'], [5, [1, 2, 3]], [6, '{"a": [1]}'],
                [7, undef];
            $statement->execute;
            my @row = $statement->fetchrow_array;
            equal("@row[0 .. 3]", 2**40 . ' 12.345 größer ☃ 1');
            equal("@{$row[4]} $row[5]", '1 2 3 {"a": [1]}');
            equal(defined $row[6] ? 'value' : 'null', 'null');
            equal($row[7], "\0\xff");
            $statement->finish;
        }
    },
    prepared => sub {
        my ($db) = @_;
        my $statement = $db->prepare('select name from people where id = ?', { pg_prepare_now => 1 });
        for my $id (1 .. 20) {
            $statement->execute($id);
            equal($statement->fetchrow_array, "name $id");
            $statement->finish;
        }
        undef $statement;    # it sends DEALLOCATE
        equal(one($db, 'select 3'), 3);
    },
    statement_cache => sub {
        my ($db) = @_;
        my $statement = $db->prepare_cached('select ?::int + 1');
        for my $number (1 .. 20) {
            equal($db->selectrow_array($statement, undef, $number), $number + 1);
            $db->begin_work;
            equal($db->selectrow_array($statement, undef, $number), $number + 1);
            $db->commit;
        }
    },
    many_statements => sub {
        my ($db) = @_;
        my @kept = map { $db->prepare("select ?::int + $_", { pg_prepare_now => 1 }) } 0 .. 299;
        for (1 .. 2) {
            for my $number (0 .. 299) {
                equal($db->selectrow_array($kept[$number], undef, 1), $number + 1);
            }
        }
    },
    batch => sub {
        my ($db) = @_;
        $db->do('truncate copied');
        my $statement = $db->prepare('insert into copied values (?, ?)');
        $statement->execute_array({}, [0 .. 999], [map {"name $_"} 0 .. 999]);
        equal(one($db, 'select count(*) from copied'), 1000);
    },
    copy => sub {
        my ($db) = @_;
        $db->do('truncate copied');
        $db->do('copy copied from stdin');
        $db->pg_putcopydata("$_\tname $_\n") for 0 .. 9999;
        $db->pg_putcopyend;
        equal(one($db, 'select sum(id) from copied'), 49_995_000);
        $db->do('copy copied to stdout');
        my ($line, $count) = ('', 0);
        $count++ while $db->pg_getcopydata($line) >= 0;
        equal($count, 10_000);
        $db->do('copy copied from stdin');
        $db->pg_putcopydata("no number\tname\n");
        refused('22P02', sub { $db->pg_putcopyend });
        equal(one($db, 'select 3'), 3);
    },
    cursor => sub {
        my ($db) = @_;
        $db->begin_work;
        $db->do('declare portions cursor for select id from people order by id');
        equal(join(',', map { @{ $db->selectcol_arrayref('fetch 1000 portions') } } 1 .. 20), $RISING);
        $db->commit;
    },
    transaction => sub {
        my ($db) = @_;
        $db->begin_work;
        for my $id (1, 2) {
            my $statement = $db->prepare('insert into written values (?)', { pg_prepare_now => 1 });
            $statement->execute($id);
            undef $statement;    # it sends DEALLOCATE
            equal(one($db, 'select max(id) from written where id > ?', 0), $id);
        }
        $db->commit;
        $db->begin_work;
        $db->do('insert into written values (4)');
        $db->rollback;
        equal(one($db, 'select sum(id) from written'), 3);
    },
    errors => sub {
        my ($db) = @_;
        $db->begin_work;
        refused('22012', sub { one($db, 'select 1 / ?::int', 0) });
        refused('25P02', sub { one($db, 'select 1') });
        $db->rollback;
        $db->begin_work;
        $db->pg_savepoint('s');
        refused('22012', sub { one($db, 'select 1 / 0') });
        $db->pg_rollback_to('s');
        equal(one($db, 'select 2'), 2);
        $db->commit;
        refused('42601', sub { one($db, 'selec 1') });
        equal(one($db, 'select 3'), 3);
    },
    cancel => sub {
        my ($db) = @_;
        $db->do('select pg_sleep(20)', { pg_async => PG_ASYNC });
        select undef, undef, undef, 0.3;
        equal($db->pg_cancel, 1);
        equal(one($db, 'select 3'), 3);
    },
    notices => sub {
        my ($db) = @_;
        my @heard;
        local $SIG{__WARN__} = sub { push @heard, @_ };
        $db->do(q{do $$ begin raise notice 'hello'; end $$});
        equal("@heard", "NOTICE:  hello\n");
    },
    big_value => sub {
        my $text = '0123456789abcdef' x 2**18;
        equal(one($_[0], 'select ?::text', $text) eq $text, 1);
    },
    many_rows => sub {
        my $rows = $_[0]->selectall_arrayref(q{select n, 'text ' || n from generate_series(1, 200000) n});
        equal(@$rows . " $rows->[-1][1]", '200000 text 200000');
    },
    # Processes: Perl's threads are not for DBI.
    concurrent => sub {
        pipe my $reports, my $report;
        for my $worker (0 .. 7) {
            next if fork;
            my $done = eval {
                my $db = connected();
                for my $id ($worker * 100 + 1 .. $worker * 100 + 100) {
                    $db->begin_work;
                    my $found = $db->prepare_cached('select name from people where id = ?');
                    equal($db->selectrow_array($found, undef, $id), "name $id");
                    my $part = $id % 5;
                    equal($db->selectrow_array($db->prepare_cached("select ?::int + $part"), undef, $id), $id + $part);
                    $db->commit;
                }
                $db->disconnect;
            };
            syswrite $report, $@ =~ s/\s+/ /gr . "\n" unless $done;
            require POSIX;
            POSIX::_exit(0);
        }
        1 while wait > 0;
        close $report;
        my $failure = <$reports>;
        die $failure if $failure;
    },
);

print "# DBD::Pg $DBD::Pg::VERSION, libpq ", connected()->{pg_lib_version}, "\n";
for my $name (@ARGV) {
    if (!$scenarios{$name}) {
        print "skip $name not in this driver\n";
    } elsif (eval { my $db = connected(); $scenarios{$name}->($db); 1 }) {
        print "ok $name\n";
    } else {
        my $why = $@ =~ s/\s+/ /gr;
        utf8::encode($why) if utf8::is_utf8($why);
        print "not ok $name $why\n";
    }
}
