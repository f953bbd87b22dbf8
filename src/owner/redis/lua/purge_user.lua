-- purge_user: mirrors domain/presence.rs
-- The connections on a dead node end; with the last ones, or if that node awaited the user's return, the user goes
-- offline.
local dead_node = ARGV[6]
read()
if not user.here then return '{}' end
local ended = user.absence and string.match(user.absence, '^%d+') == dead_node
for _, member in ipairs(call('ZRANGE', connections_key, 0, -1)) do
  if string.match(member, '^%d+') == dead_node then
    call('ZREM', connections_key, member)
    hook_connection(HOOK_CONNECTION_CLOSED, string.match(member, ':(.*)$'))
    unname(member)
    ended = true
  end
end
if ended and call('ZCARD', connections_key) == 0 then
  -- The dead node did not report the rooms of its connections.
  if audience == 'r' then part(call('SMEMBERS', told_rooms_key)) end
  user.last_active = last_seen()
  go()
end
return '{}'
