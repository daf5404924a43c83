<?php
// PDO: each prepared statement is a named one on the server, deallocated in SQL when PHP lets go of it.

class Skip extends Exception {}

function connected(string $more = '', array $options = []): PDO {
    // The rest is in PGHOST and its kind, but PDO insists on something.
    return new PDO("pgsql:dbname=app;$more", null, null, [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION] + $options);
}

function equal(mixed $found, mixed $expected): void {
    if ($found !== $expected) {
        $show = fn($value) => substr(json_encode($value, JSON_INVALID_UTF8_SUBSTITUTE), 0, 100);
        throw new Exception("{$show($found)} instead of {$show($expected)}");
    }
}

function refused(?string $state, callable $action): void {
    try {
        $action();
    } catch (PDOException $error) {
        if ($state && ($error->errorInfo[0] ?? $error->getCode()) !== $state) throw $error;
        return;
    }
    throw new Exception("no error, instead of $state");
}

function one(PDO $db, string $text, array $values = []): mixed {
    $statement = $db->prepare($text);
    $statement->execute($values);
    return $statement->fetchColumn();
}

$scenarios = [
    'connect' => function (PDO $db) {
        equal(one($db, 'select 1'), 1);
        refused(null, fn() => connected('sslrootcert=' . getenv('STRANGER_CA')));
    },
    'channel_binding' => fn() => equal(one(connected('channel_binding=require'), 'select 1'), 1),
    'simple_query' => function (PDO $db) {
        equal($db->query('select name from people where id = 7')->fetchColumn(), 'name 7');
        equal($db->exec('select 1; select 2'), 0);
    },
    'parameters' => function (PDO $db) {
        foreach ([false, true] as $emulated) {
            $db->setAttribute(PDO::ATTR_EMULATE_PREPARES, $emulated);
            $statement = $db->prepare('select cast(? as int8), cast(? as numeric), cast(? as text), cast(? as bool),
                cast(? as int[]), cast(? as jsonb), cast(? as text), cast(? as bytea)');
            $values = [2 ** 40, '12.345', 'größer ☃', true, '{1,2,3}', '{"a": [1]}', null];
            foreach ($values as $i => $value) {
                $kind = is_bool($value) ? PDO::PARAM_BOOL : (is_int($value) ? PDO::PARAM_INT : PDO::PARAM_STR);
                $statement->bindValue($i + 1, $value, $kind);
            }
            $statement->bindValue(8, "\0\xff", PDO::PARAM_LOB);
            $statement->execute();
            $row = $statement->fetch(PDO::FETCH_NUM);
            equal(stream_get_contents(array_pop($row)), "\0\xff");
            equal($row, $values);
        }
    },
    'prepared' => function (PDO $db) {
        $statement = $db->prepare('select name from people where id = ?');
        for ($id = 1; $id <= 20; $id++) {
            $statement->execute([$id]);
            equal($statement->fetchColumn(), "name $id");
        }
        unset($statement); // DEALLOCATE
        equal(one($db, 'select 3'), 3);
    },
    'statement_cache' => function (PDO $db) {
        for ($number = 1; $number <= 20; $number++) {
            equal(one($db, 'select ?::int + 1', [$number]), $number + 1);
            $db->beginTransaction();
            equal(one($db, 'select ?::int + 2', [$number]), $number + 2);
            $db->commit();
        }
    },
    'many_statements' => function (PDO $db) {
        $kept = [];
        for ($number = 0; $number < 300; $number++) $kept[] = $db->prepare("select ?::int + $number");
        for ($round = 0; $round < 2; $round++) {
            foreach ($kept as $number => $statement) {
                $statement->execute([1]);
                equal($statement->fetchColumn(), $number + 1);
            }
        }
    },
    'copy' => function (PDO $db) {
        $rows = array_map(fn($number) => "$number\tname $number\n", range(0, 9999));
        equal($db->pgsqlCopyFromArray('copied', $rows), true);
        equal(one($db, 'select sum(id) from copied'), 49995000);
        equal($db->pgsqlCopyToArray('copied'), $rows);
        refused('22P02', fn() => $db->pgsqlCopyFromArray('copied', ["no number\tname\n"]));
        equal(one($db, 'select 3'), 3);
    },
    'cursor' => function (PDO $db) {
        $db->beginTransaction();
        $statement = $db->prepare('select id from people order by id', [PDO::ATTR_CURSOR => PDO::CURSOR_SCROLL]);
        $statement->execute();
        for ($id = 1; ($found = $statement->fetchColumn()) !== false; $id++) equal($found, $id);
        equal($id, 20001);
        $db->commit();
    },
    'transaction' => function (PDO $db) {
        $db->beginTransaction();
        foreach ([1, 2] as $id) {
            $statement = $db->prepare('insert into written values (?)');
            $statement->execute([$id]);
            unset($statement); // DEALLOCATE
            equal(one($db, 'select max(id) from written where id > ?', [0]), $id);
        }
        $db->commit();
        $db->beginTransaction();
        $db->exec('insert into written values (4)');
        $db->rollBack();
        equal(one($db, 'select sum(id) from written'), 3);
    },
    'errors' => function (PDO $db) {
        $db->beginTransaction();
        refused('22012', fn() => one($db, 'select 1 / ?::int', [0]));
        refused('25P02', fn() => one($db, 'select 1'));
        $db->rollBack();
        $db->beginTransaction();
        $db->exec('savepoint s');
        refused('22012', fn() => one($db, 'select 1 / 0'));
        $db->exec('rollback to s');
        equal(one($db, 'select 2'), 2);
        $db->commit();
        refused('42601', fn() => one($db, 'selec 1'));
        equal(one($db, 'select 3'), 3);
    },
    'big_value' => function (PDO $db) {
        $text = str_repeat('0123456789abcdef', 2 ** 18);
        equal(one($db, 'select ?::text', [$text]) === $text, true);
    },
    'many_rows' => function (PDO $db) {
        $rows = $db->query("select n, 'text ' || n from generate_series(1, 200000) n")->fetchAll(PDO::FETCH_NUM);
        equal([count($rows), end($rows)], [200000, [200000, 'text 200000']]);
    },
    // Processes: PHP has no threads, and its pool is a persistent connection for each process.
    'concurrent' => function () {
        $workers = [];
        for ($worker = 0; $worker < 8; $worker++) {
            $workers[] = proc_open([PHP_BINARY, __FILE__, "worker $worker"], [1 => ['pipe', 'w']], $pipes[$worker]);
        }
        $answers = array_map(fn($pipe) => stream_get_contents($pipe[1]), $pipes);
        equal(array_values(array_unique($answers)), ["done\n"]);
    },
];

function work(int $worker): void {
    $db = connected('', [PDO::ATTR_PERSISTENT => true]);
    $found = $db->prepare('select name from people where id = ?');
    for ($id = $worker * 100 + 1; $id <= $worker * 100 + 100; $id++) {
        $db->beginTransaction();
        $found->execute([$id]);
        equal($found->fetchColumn(), "name $id");
        equal(one($db, 'select ?::int + ' . $id % 5, [$id]), $id + $id % 5);
        $db->commit();
    }
    echo "done\n";
}

if (preg_match('/^worker (\d)$/', $argv[1] ?? '', $match)) {
    try {
        work((int)$match[1]);
    } catch (Exception $error) {
        echo $error->getMessage();
    }
    exit(0);
}
ini_set('memory_limit', '1G');
echo '# PDO of PHP ' . PHP_VERSION . ', libpq ' . connected()->getAttribute(PDO::ATTR_CLIENT_VERSION) . "\n";
foreach (array_slice($argv, 1) as $name) {
    try {
        if (!isset($scenarios[$name])) throw new Skip('not in this driver');
        $scenarios[$name](connected());
        echo "ok $name\n";
    } catch (Skip $why) {
        echo "skip $name {$why->getMessage()}\n";
    } catch (Throwable $error) {
        echo "not ok $name " . preg_replace('/\s+/', ' ', get_class($error) . ': ' . $error->getMessage()) . "\n";
    }
}
