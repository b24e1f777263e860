-- The sample project's roles on one server. Run it once with psql, as a superuser, connected to the
-- project's database. `docker compose` does so when it initialises a server, and so does the sandbox
-- of the demo and the tests.
--
--   integrity_owner   owns the database and its tables; `manage.py migrate`, `install-triggers`
--                     and `grant_roles` log in as this role, and nothing else does
--   integrity_web     the web processes
--   integrity_worker  Celery's workers, beat, and `manage.py integrity ...`
--   integrity_log     cannot log in. Capture triggers run as this role, which may only insert into
--                     the deletion log
--
-- None of them is a superuser. `manage.py grant_roles` grants privileges to web and worker after
-- each `migrate`.

\set ON_ERROR_STOP on
-- From the environment, because all users of the system can read command lines.
\getenv owner_password INTEGRITY_OWNER_PASSWORD
\getenv web_password INTEGRITY_WEB_PASSWORD
\getenv worker_password INTEGRITY_WORKER_PASSWORD

CREATE ROLE integrity_owner LOGIN PASSWORD :'owner_password';
CREATE ROLE integrity_web LOGIN PASSWORD :'web_password';
CREATE ROLE integrity_worker LOGIN PASSWORD :'worker_password';
CREATE ROLE integrity_log NOLOGIN;

-- Lets the owner make this role the owner of trigger functions, without being a superuser.
GRANT integrity_log TO integrity_owner;

-- Since PostgreSQL 15, only the owner of a database may create tables in its schema `public`.
ALTER DATABASE :"DBNAME" OWNER TO integrity_owner;
-- This includes TEMPORARY: temporary tables are not needed, and they can shadow real ones.
REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO integrity_web, integrity_worker;
