-- detach: mirrors domain/presence.rs
-- ARGV: 6 connection, 7 1 if they may come back, 8 the rooms it was in.
read()
local member = node .. ':' .. ARGV[6]
unname(member)
if not user.here then return refuse('user') end
if call('ZREM', C, member) == 0 then return '{}' end
part(cjson.decode(ARGV[8]))
if call('ZCARD', C) > 0 then return '{}' end
if ARGV[7] == '1' then return wait() end
user.l = last_seen()
go()
return '{}'
