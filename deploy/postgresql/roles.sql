-- The roles of the sample project on one server. Run it once, with psql, as a superuser, connected
-- to the project's database: `docker compose` does so when it initialises a server, and the
-- sandbox of the demo and the tests as well.
--
--   integrity_owner   owns the database and its tables; `manage.py migrate`, `install-triggers`
--                     and `grant_roles` log in with it, and nothing else does
--   integrity_web     the web processes
--   integrity_worker  Celery's workers, beat, and `manage.py integrity ...`
--   integrity_log     nobody logs in with it: capture triggers run as this role, which may insert
--                     into the deletion log and do nothing else
--
-- None of them is a superuser. What web and worker may do is granted after each `migrate`, by
-- `manage.py grant_roles`.

\set ON_ERROR_STOP on
-- From the environment: a command line is for everybody to read.
\getenv owner_password INTEGRITY_OWNER_PASSWORD
\getenv web_password INTEGRITY_WEB_PASSWORD
\getenv worker_password INTEGRITY_WORKER_PASSWORD

CREATE ROLE integrity_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE integrity_web LOGIN PASSWORD :'web_password';
CREATE ROLE integrity_worker LOGIN PASSWORD :'worker_password';
CREATE ROLE integrity_log NOLOGIN;

-- So that the owner can hand the functions of the triggers over, without being a superuser.
GRANT integrity_log TO integrity_owner;

-- Since PostgreSQL 15 the owner of a database, and nobody else, may create tables in it.
ALTER DATABASE :"DBNAME" OWNER TO integrity_owner;
-- Among it TEMPORARY: nobody needs temporary tables, and they can hide real ones.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO integrity_web, integrity_worker;
