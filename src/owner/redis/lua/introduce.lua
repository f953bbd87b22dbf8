-- introduce: mirrors domain/presence.rs
-- ARGV: 6 the room. Who is only back there is as they were; the caller tells others, for the room is kept elsewhere.
read()
if not user.here then return refuse('user') end
local room = ARGV[6]
if way == 'r' and call('SCARD', I) < PARTED then call('SADD', I, room) end
local rooms, is_known = {}, false
for _, known in ipairs(user.r and cjson.decode(user.r) or {}) do
  if known == room then is_known = true else rooms[#rooms + 1] = known end
end
if is_known then
  put({r = #rooms > 0 and cjson.encode(rooms)})
  return '{}'
end
if way ~= 'r' or user.s == 'offline' then return '{}' end
return '{' .. string.sub(news(), 2) .. '}'
