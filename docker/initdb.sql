-- Run once by the PostgreSQL image on an empty volume: the product's own role is no superuser.
\set password `cat /run/secrets/database_password`
CREATE ROLE agentops LOGIN PASSWORD :'password';
CREATE DATABASE agentops OWNER agentops;
