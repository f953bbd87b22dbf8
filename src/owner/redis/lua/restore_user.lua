-- restore_user: mirrors domain/presence.rs
-- ARGV: 6 who, 7 their connections on this node, 8 rooms that others were in, 9 1 if those were told to go.
-- Whatever was missed, these are the connections of this node from now on.
read()
local ids, has = cjson.decode(ARGV[7]), {}
for _, id in ipairs(ids) do has[node .. ':' .. id] = true end
local ended = false
for _, member in ipairs(call('ZRANGE', C, 0, -1)) do
  if string.match(member, '^%d+') == node and not has[member] then
    call('ZREM', C, member)
    unname(member)
    ended = true
  end
end
if #ids > 0 then
  if not user.here then begin(ARGV[6]) end
  part(cjson.decode(ARGV[8]))
  come(ids)
  return '{' .. waiting() .. '}'
end
if not user.here then return '{}' end
part(cjson.decode(ARGV[8]))
if call('ZCARD', C) > 0 then return '{}' end
if ended or not user.g or string.match(user.g, '^%d+') == node then return wait() end
return '{}'
