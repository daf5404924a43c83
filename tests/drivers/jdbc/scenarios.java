// pgjdbc: the unnamed statement four times, then a named one (prepareThreshold is 5); batches are pipelines.
import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.temporal.ChronoUnit;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.postgresql.PGConnection;
import org.postgresql.util.PGobject;

class scenarios {
    interface Scenario {
        void run(Connection db) throws Exception;
    }

    static Connection connected(String... more) throws SQLException {
        Map<String, String> env = System.getenv();
        Properties options = new Properties();
        options.setProperty("user", env.get("PGUSER"));
        options.setProperty("password", env.get("PGPASSWORD"));
        options.setProperty("sslmode", env.get("PGSSLMODE"));
        options.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
        for (int i = 0; i < more.length; i += 2) options.setProperty(more[i], more[i + 1]);
        return DriverManager.getConnection(
            "jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE"), options);
    }

    static Object one(Connection db, String text, Object... values) throws SQLException {
        try (PreparedStatement statement = db.prepareStatement(text)) {
            return one(statement, values);
        }
    }

    static Object one(PreparedStatement statement, Object... values) throws SQLException {
        for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
        try (ResultSet rows = statement.executeQuery()) {
            rows.next();
            return rows.getObject(1);
        }
    }

    static void execute(Connection db, String text) throws SQLException {
        try (Statement statement = db.createStatement()) {
            statement.execute(text);
        }
    }

    static void equal(Object found, Object expected) {
        if (!Objects.deepEquals(found, expected)) throw new AssertionError(found + " instead of " + expected);
    }

    interface Action {
        void run() throws Exception;
    }

    static void refused(String state, Action action) throws Exception {
        try {
            action.run();
        } catch (SQLException error) {
            if (state != null && !state.equals(error.getSQLState())) throw error;
            return;
        }
        throw new AssertionError("no error, instead of " + state);
    }

    static void connect(Connection db) throws Exception {
        equal(one(db, "select 1"), 1);
        refused(null, () -> connected("sslrootcert", System.getenv("STRANGER_CA")));
    }

    static void simpleQuery(Connection ignored) throws Exception {
        try (Connection db = connected("preferQueryMode", "simple"); Statement statement = db.createStatement()) {
            equal(one(db, "select name from people where id = 7"), "name 7");
            equal(statement.execute("select 1; select 2"), true);
            equal(statement.getMoreResults(), true);
        }
    }

    static void parameters(Connection db) throws Exception {
        OffsetDateTime now = OffsetDateTime.now(ZoneOffset.UTC).truncatedTo(ChronoUnit.MICROS);
        String text =
            "select ?::int8, ?::numeric, ?::text, ?::bytea, ?::timestamptz, ?::bool, ?::int[], ?::jsonb, ?::text";
        try (PreparedStatement statement = db.prepareStatement(text)) {
            for (int round = 0; round < 12; round++) { // text first, binary later
                statement.setLong(1, 1L << 40);
                statement.setBigDecimal(2, new BigDecimal("12.345"));
                statement.setString(3, "größer ☃");
                statement.setBytes(4, new byte[] {0, -1});
                statement.setObject(5, now);
                statement.setBoolean(6, true);
                statement.setArray(7, db.createArrayOf("int4", new Object[] {1, 2, 3}));
                PGobject json = new PGobject();
                json.setType("jsonb");
                json.setValue("{\"a\": [1]}");
                statement.setObject(8, json);
                statement.setNull(9, java.sql.Types.VARCHAR);
                try (ResultSet row = statement.executeQuery()) {
                    row.next();
                    equal(row.getLong(1), 1L << 40);
                    equal(row.getBigDecimal(2), new BigDecimal("12.345"));
                    equal(row.getString(3), "größer ☃");
                    equal(row.getBytes(4), new byte[] {0, -1});
                    equal(row.getObject(5, OffsetDateTime.class).toInstant(), now.toInstant());
                    equal(row.getBoolean(6), true);
                    equal(row.getArray(7).getArray(), new Integer[] {1, 2, 3});
                    equal(row.getString(8), "{\"a\": [1]}");
                    equal(row.getString(9), null);
                }
            }
        }
    }

    static void prepared(Connection db) throws Exception {
        try (PreparedStatement statement = db.prepareStatement("select name from people where id = ?")) {
            for (int number = 1; number <= 20; number++) equal(one(statement, number), "name " + number);
        }
        equal(one(db, "select 3"), 3);
    }

    static void statementCache(Connection db) throws Exception {
        for (int number = 1; number <= 20; number++) {
            equal(one(db, "select ?::int + 1", number), number + 1);
            db.setAutoCommit(false);
            equal(one(db, "select ?::int + 2", number), number + 2);
            equal(one(db, "select ?::int + 3", number), number + 3);
            db.commit();
            db.setAutoCommit(true);
        }
    }

    static void manyStatements(Connection ignored) throws Exception {
        try (Connection db = connected("prepareThreshold", "1", "preparedStatementCacheQueries", "400")) {
            for (int round = 0; round < 2; round++) {
                for (int number = 0; number < 300; number++) equal(one(db, "select ?::int + " + number, 1), number + 1);
            }
        }
    }

    static void cacheOverflow(Connection ignored) throws Exception {
        try (Connection db = connected("prepareThreshold", "1")) { // its cache holds 256
            for (int round = 0; round < 2; round++) {
                for (int number = 0; number < 600; number++) equal(one(db, "select ?::int - " + number, 1), 1 - number);
            }
        }
    }

    static void schemaChange(Connection db) throws Exception {
        execute(db, "alter table changing drop column if exists more");
        for (int number = 0; number < 20; number++) one(db, "select * from changing");
        execute(db, "alter table changing add column more int");
        for (int number = 0; number < 10; number++) {
            try (PreparedStatement statement = db.prepareStatement("select * from changing");
                    ResultSet rows = statement.executeQuery()) {
                equal(rows.getMetaData().getColumnCount(), 2);
            } catch (SQLException error) {
                if (number >= 5) throw error;
            }
        }
    }

    static void batch(Connection db) throws Exception {
        execute(db, "truncate copied");
        String text = "insert into copied values (?, ?)";
        for (int round = 0; round < 8; round++) {
            try (PreparedStatement statement = db.prepareStatement(text)) {
                for (int number = 0; number < 500; number++) {
                    statement.setInt(1, number);
                    statement.setString(2, "name " + number);
                    statement.addBatch();
                }
                equal(statement.executeBatch().length, 500);
            }
        }
        equal(one(db, "select count(*) from copied"), 4000L);
        try (PreparedStatement statement = db.prepareStatement("insert into copied values (1 / ?::int, 'x')",
                Statement.RETURN_GENERATED_KEYS)) {
            for (int number = 2; number >= 0; number--) {
                statement.setInt(1, number);
                statement.addBatch();
            }
            refused("22012", statement::executeBatch);
        }
        equal(one(db, "select 3"), 3);
    }

    static void copy(Connection db) throws Exception {
        execute(db, "truncate copied");
        String rows = IntStream.range(0, 10_000).mapToObj(n -> n + "\tname " + n + "\n").collect(Collectors.joining());
        var copies = db.unwrap(PGConnection.class).getCopyAPI();
        equal(copies.copyIn("copy copied from stdin", new StringReader(rows)), 10_000L);
        StringWriter out = new StringWriter();
        copies.copyOut("copy copied to stdout", out);
        equal(out.toString().equals(rows), true);
        refused("22P02", () -> copies.copyIn("copy copied from stdin", new StringReader("no number\tname\n")));
        equal(one(db, "select 3"), 3);
    }

    static void cursor(Connection db) throws Exception {
        db.setAutoCommit(false);
        for (int round = 0; round < 7; round++) {
            try (PreparedStatement statement = db.prepareStatement("select id from people where id > ? order by id")) {
                statement.setFetchSize(1000);
                statement.setInt(1, 0);
                try (ResultSet rows = statement.executeQuery()) {
                    int next = 1;
                    for (; rows.next(); next++) equal(rows.getInt(1), next);
                    equal(next, 20_001);
                }
            }
            db.commit();
        }
    }

    static void transaction(Connection ignored) throws Exception {
        try (Connection db = connected("prepareThreshold", "1", "preparedStatementCacheQueries", "0")) {
            db.setAutoCommit(false); // with no cache, each statement is closed when it is let go
            for (int id = 1; id <= 2; id++) {
                try (PreparedStatement statement = db.prepareStatement("insert into written values (?)")) {
                    statement.setInt(1, id);
                    statement.executeUpdate();
                }
                equal(one(db, "select max(id) from written where id > ?", 0), id);
            }
            db.commit();
            execute(db, "insert into written values (4)");
            db.rollback();
            equal(one(db, "select sum(id) from written"), 3L);
        }
    }

    static void errors(Connection db) throws Exception {
        db.setAutoCommit(false);
        refused("22012", () -> one(db, "select 1 / ?::int", 0));
        refused("25P02", () -> one(db, "select 1"));
        db.rollback();
        equal(one(db, "select 1"), 1);
        Savepoint savepoint = db.setSavepoint();
        refused("22012", () -> one(db, "select 1 / 0"));
        db.rollback(savepoint);
        equal(one(db, "select 2"), 2);
        db.commit();
        db.setAutoCommit(true);
        refused("42601", () -> one(db, "selec 1"));
        equal(one(db, "select 3"), 3);
    }

    static void cancel(Connection db) throws Exception {
        try (Statement statement = db.createStatement()) {
            Thread other = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    statement.cancel();
                } catch (InterruptedException | SQLException error) {
                    throw new IllegalStateException(error);
                }
            });
            other.start();
            refused("57014", () -> statement.execute("select pg_sleep(20)"));
            other.join();
        }
        try (Statement statement = db.createStatement()) {
            statement.setQueryTimeout(1);
            refused("57014", () -> statement.execute("select pg_sleep(20)"));
        }
        equal(one(db, "select 3"), 3);
    }

    static void notices(Connection db) throws Exception {
        try (Statement statement = db.createStatement()) {
            statement.execute("do $$ begin raise notice 'hello'; end $$");
            equal(statement.getWarnings().getMessage(), "hello");
        }
    }

    static void bigValue(Connection db) throws Exception {
        String text = "0123456789abcdef".repeat(1 << 18);
        equal(one(db, "select ?::text", text).equals(text), true);
    }

    static void manyRows(Connection db) throws Exception {
        try (Statement statement = db.createStatement();
                ResultSet rows = statement.executeQuery("select n, 'text ' || n from generate_series(1, 200000) n")) {
            int count = 0;
            String last = "";
            for (; rows.next(); count++) last = rows.getString(2);
            equal(count + " " + last, "200000 text 200000");
        }
    }

    static void concurrent(Connection ignored) throws Exception {
        BlockingQueue<Connection> pool = new ArrayBlockingQueue<>(8);
        for (int number = 0; number < 8; number++) pool.add(connected());
        ExecutorService workers = Executors.newFixedThreadPool(8);
        List<Future<?>> outcomes = new ArrayList<>();
        for (int worker = 0; worker < 8; worker++) {
            int first = worker * 100 + 1;
            outcomes.add(workers.submit(() -> {
                for (int id = first; id < first + 100; id++) {
                    Connection db = pool.take();
                    db.setAutoCommit(false);
                    equal(one(db, "select name from people where id = ?", id), "name " + id);
                    equal(one(db, "select ?::int + " + id % 5, id), id + id % 5);
                    db.commit();
                    db.setAutoCommit(true);
                    pool.add(db);
                }
                return null;
            }));
        }
        for (Future<?> outcome : outcomes) outcome.get();
        workers.shutdown();
        for (Connection db : pool) db.close();
    }

    public static void main(String[] names) {
        Map<String, Scenario> all = new LinkedHashMap<>();
        all.put("connect", scenarios::connect);
        all.put("simple_query", scenarios::simpleQuery);
        all.put("parameters", scenarios::parameters);
        all.put("prepared", scenarios::prepared);
        all.put("statement_cache", scenarios::statementCache);
        all.put("many_statements", scenarios::manyStatements);
        all.put("cache_overflow", scenarios::cacheOverflow);
        all.put("schema_change", scenarios::schemaChange);
        all.put("batch", scenarios::batch);
        all.put("copy", scenarios::copy);
        all.put("cursor", scenarios::cursor);
        all.put("transaction", scenarios::transaction);
        all.put("errors", scenarios::errors);
        all.put("cancel", scenarios::cancel);
        all.put("notices", scenarios::notices);
        all.put("big_value", scenarios::bigValue);
        all.put("many_rows", scenarios::manyRows);
        all.put("concurrent", scenarios::concurrent);
        String version = org.postgresql.util.DriverInfo.DRIVER_VERSION;
        System.out.println("# pgjdbc " + version + ", Java " + System.getProperty("java.version"));
        for (String name : names) {
            String verdict = "ok " + name;
            if (!all.containsKey(name)) {
                verdict = "skip " + name + " not in this driver";
            } else {
                try (Connection db = connected()) {
                    all.get(name).run(db);
                } catch (Throwable error) {
                    verdict = "not ok " + name + " " + error.toString().replaceAll("\\s+", " ");
                }
            }
            System.out.println(verdict);
            System.out.flush();
        }
        System.exit(0);
    }
}
