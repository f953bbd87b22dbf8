-- detach: mirrors domain/presence.rs
-- A connection ends. `may_return`: 1 if the user can return within the grace period; `rooms`: the connection's
-- rooms.
local connection, may_return, rooms = ARGV[6], ARGV[7], ARGV[8]
read()
local member = node .. ':' .. connection
unname(member)
if not user.here then return refuse('user') end
if call('ZREM', connections_key, member) == 0 then return '{}' end
hook_connection(HOOK_CONNECTION_CLOSED, connection)
part(cjson.decode(rooms))
if call('ZCARD', connections_key) > 0 then return '{}' end
if may_return == '1' then return wait() end
user.last_active = last_seen()
go()
return '{}'
