-- restore_user: mirrors domain/presence.rs
-- Replaces the user's connections on the calling node. `rooms`: rooms of connections that have ended.
local identity, connection_ids, rooms = ARGV[6], ARGV[7], ARGV[8]
read()
local ids, has = cjson.decode(connection_ids), {}
for _, id in ipairs(ids) do has[node .. ':' .. id] = true end
local ended = false
for _, member in ipairs(call('ZRANGE', connections_key, 0, -1)) do
  if string.match(member, '^%d+') == node and not has[member] then
    call('ZREM', connections_key, member)
    hook_connection(HOOK_CONNECTION_CLOSED, string.match(member, ':(.*)$'))
    unname(member)
    ended = true
  end
end
if #ids > 0 then
  if not user.here then begin(identity) end
  part(cjson.decode(rooms))
  come(ids)
  return waiting('')
end
if not user.here then return '{}' end
part(cjson.decode(rooms))
if call('ZCARD', connections_key) > 0 then return '{}' end
if ended or not user.absence or string.match(user.absence, '^%d+') == node then return wait() end
return '{}'
