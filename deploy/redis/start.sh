#!/bin/sh
# start.sh SERVER [OPTION ...]: run the server with redis.conf and the users of users.acl.
#
# The passwords come from REDIS_<USER>_PASSWORD. The server reads their hashes from a file that only
# its own user can read. The list of processes shows no password.
set -eu

here=$(dirname "$0")
users=${REDIS_USERS_FILE:-/tmp/users.acl}
server=$1
shift

acl=$(sed -e '/^#/d' -e ':join' -e '/\\$/{N;s/ *\\\n */ /;b join' -e '}' "$here/users.acl")
for user in WEB BEAT WORKER FLOWER HEALTH; do
    password=$(printenv "REDIS_${user}_PASSWORD" || true)
    if [ -z "$password" ]; then
        echo "REDIS_${user}_PASSWORD is not set: see .env.example" >&2
        exit 1
    fi
    hash=$(printf %s "$password" | sha256sum | cut -d ' ' -f 1)
    acl=$(printf '%s\n' "$acl" | sed "s/HASH_OF_$user/#$hash/")
    unset "REDIS_${user}_PASSWORD"
done

umask 077
printf '%s\n' "$acl" > "$users"
exec "$server" "$here/redis.conf" --aclfile "$users" "$@"
