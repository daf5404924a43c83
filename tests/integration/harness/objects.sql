create table sink (id int, name text);
create table fruit (id int primary key, name text not null);
insert into fruit values (1, 'apple'), (2, 'banana'), (3, 'cherry');
create table bounded (id int check (id < 100));
create table parent (id int primary key);
create table child (id int references parent deferrable initially deferred);
create function shout(words text) returns void language plpgsql as $$ begin raise notice 'shout: %', words; end $$;
create function warn(words text) returns int language plpgsql as
    $$ begin raise warning 'warn: %', words using detail = 'a detail', hint = 'a hint'; return 1; end $$;
create function fail(words text) returns int language plpgsql as
    $$ begin raise exception 'fail: %', words using errcode = 'P0042', detail = 'why'; end $$;
create function slow_row(seconds float) returns int language plpgsql as
    $$ begin perform pg_sleep(seconds); return 1; end $$;
grant all on all tables in schema public to app;
