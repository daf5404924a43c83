# Ruby's pg: libpq, with threads that wait without blocking the others.
require "pg"

class Skip < StandardError; end

RISING = (1..20_000).to_a

def connected(options = {})
  db = PG.connect(options) # the rest is in PGHOST and its kind
  db.type_map_for_results = PG::BasicTypeMapForResults.new(db)
  db
end

def equal(found, expected)
  raise "#{found.inspect[0, 100]} instead of #{expected.inspect[0, 100]}" unless found == expected
end

def refused(state)
  yield
rescue PG::Error => error
  raise if state && error.result&.error_field(PG::PG_DIAG_SQLSTATE) != state
else
  raise "no error, instead of #{state}"
end

def one(db, text, values = nil)
  (values ? db.exec_params(text, values) : db.exec(text)).getvalue(0, 0)
end

SCENARIOS = {
  "connect" => lambda do |db|
    equal(db.ssl_in_use?, true)
    refused(nil) { connected(sslrootcert: ENV["STRANGER_CA"]) }
  end,

  "channel_binding" => lambda do |_|
    equal(one(connected(channel_binding: "require"), "select 1"), 1)
  end,

  "simple_query" => lambda do |db|
    equal(one(db, "select name from people where id = 7"), "name 7")
    equal(one(db, "select 1; select 2"), 2)
  end,

  # The codecs are looked up in the catalogue.
  "parameters" => lambda do |db|
    equal(one(db, "select $1::bytea", [{ value: "\0\xFF".b, format: 1 }]).b, "\0\xFF".b)
    db.type_map_for_queries = PG::BasicTypeMapForQueries.new(db)
    values = [2**40, 12.5, "größer ☃", true, [1, 2, 3], nil]
    types = "$1::int8, $2::float8, $3::text, $4::bool, $5::int[], $6::text"
    equal(db.exec_params("select #{types}", values).values[0], values)
  end,

  "prepared" => lambda do |db|
    db.prepare("found", "select name from people where id = $1")
    20.times { |n| equal(db.exec_prepared("found", [n + 1]).getvalue(0, 0), "name #{n + 1}") }
  end,

  "deallocate" => lambda do |db|
    db.prepare("found", "select 4")
    db.exec("deallocate found")
    refused("26000") { db.exec_prepared("found", [1]) }
    db.prepare("found", "select $1::int")
    equal(db.exec_prepared("found", [5]).getvalue(0, 0), 5)
    db.exec("deallocate all")
    db.prepare("found", "select $1::int + 1")
    equal(db.exec_prepared("found", [5]).getvalue(0, 0), 6)
  end,

  "statement_cache" => lambda do |db|
    (1..20).each do |n|
      equal(one(db, "select $1::int + 1", [n]), n + 1)
      db.transaction { equal(one(db, "select $1::int + 2", [n]), n + 2) }
    end
  end,

  "many_statements" => lambda do |db|
    300.times { |n| db.prepare("many_#{n}", "select $1::int + #{n}") }
    2.times { 300.times { |n| equal(db.exec_prepared("many_#{n}", [1]).getvalue(0, 0), n + 1) } }
  end,

  "batch" => lambda do |db|
    db.enter_pipeline_mode
    20.times do |n|
      db.send_query_params("select $1::int", [n])
      db.pipeline_sync
    end
    20.times do |n|
      equal(db.get_result.getvalue(0, 0).to_i, n)
      equal(db.get_result, nil)
      equal(db.get_result.result_status, PG::PGRES_PIPELINE_SYNC)
    end
    db.exit_pipeline_mode
    equal(one(db, "select 3"), 3)
  end,

  "copy" => lambda do |db|
    db.copy_data("copy copied from stdin") { 10_000.times { |n| db.put_copy_data("#{n}\tname #{n}\n") } }
    equal(one(db, "select sum(id) from copied"), 49_995_000)
    count = 0
    db.copy_data("copy copied to stdout") { count += 1 while db.get_copy_data }
    equal(count, 10_000)
    refused("22P02") { db.copy_data("copy copied from stdin") { db.put_copy_data("no number\tname\n") } }
    equal(one(db, "select 3"), 3)
  end,

  "cursor" => lambda do |db|
    db.transaction do
      db.exec("declare portions cursor for select id from people order by id")
      equal(20.times.flat_map { db.exec("fetch 1000 portions").column_values(0) }, RISING)
    end
  end,

  "transaction" => lambda do |db|
    db.transaction do
      [1, 2].each do |id|
        db.exec_params("insert into written values ($1)", [id])
        equal(one(db, "select max(id) from written where id > $1", [0]), id)
      end
    end
    db.exec("begin; insert into written values (4)")
    db.exec("rollback")
    equal(one(db, "select sum(id) from written"), 3)
  end,

  "errors" => lambda do |db|
    db.exec("begin")
    refused("22012") { one(db, "select 1 / $1::int", [0]) }
    refused("25P02") { one(db, "select 1") }
    db.exec("rollback")
    db.transaction do
      db.exec("savepoint s")
      refused("22012") { one(db, "select 1 / 0") }
      db.exec("rollback to s")
      equal(one(db, "select 2"), 2)
    end
    refused("42601") { one(db, "selec 1") }
    equal(one(db, "select 3"), 3)
  end,

  "cancel" => lambda do |db|
    canceller = Thread.new { sleep 0.3; db.cancel }
    refused("57014") { one(db, "select pg_sleep(20)") }
    equal(canceller.value, nil)
    equal(one(db, "select 3"), 3)
  end,

  "notices" => lambda do |db|
    heard = []
    db.set_notice_receiver { |result| heard << result.error_field(PG::PG_DIAG_MESSAGE_PRIMARY) }
    db.exec("do $$ begin raise notice 'hello'; end $$")
    equal(heard, ["hello"])
  end,

  "big_value" => lambda do |db|
    text = "0123456789abcdef" * 2**18
    equal(one(db, "select $1::text", [text]) == text, true)
  end,

  "many_rows" => lambda do |db|
    rows = db.exec("select n, 'text ' || n from generate_series(1, 200000) n")
    equal([rows.ntuples, rows.getvalue(199_999, 1)], [200_000, "text 200000"])
  end,

  "concurrent" => lambda do |_|
    workers = 8.times.map do |worker|
      Thread.new do
        Thread.current.report_on_exception = false
        db = connected
        db.prepare("found", "select name from people where id = $1")
        (worker * 100 + 1..worker * 100 + 100).each do |id|
          equal(db.exec_prepared("found", [id]).getvalue(0, 0), "name #{id}")
          db.transaction { equal(one(db, "select $1::int + #{id % 5}", [id]), id + id % 5) }
        end
        db.close
      end
    end
    workers.each(&:join)
  end,
}

$stdout.sync = true
puts "# Ruby pg #{PG::VERSION}, libpq #{PG.library_version}"
ARGV.each do |name|
  raise Skip, "not in this driver" unless SCENARIOS[name]

  db = connected
  SCENARIOS[name].call(db)
  db.close
  puts "ok #{name}"
rescue Skip => why
  puts "skip #{name} #{why.message}"
rescue StandardError => error
  puts "not ok #{name} #{error.class}: #{error.message.split.join(' ')}"
end
