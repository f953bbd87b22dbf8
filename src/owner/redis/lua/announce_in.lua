-- announce_in: mirrors domain/presence.rs
-- A connection has joined a room. The answer has the presence that the caller announces there: another server can
-- keep the room. A user who has only returned to the room is not announced.
local room = ARGV[6]
read()
if not user.here then return refuse('user') end
if audience == 'r' and call('SCARD', told_rooms_key) < PARTED_ROOMS then call('SADD', told_rooms_key, room) end
local rooms, is_known = {}, false
for _, known in ipairs(user.parted_rooms and cjson.decode(user.parted_rooms) or {}) do
  if known == room then is_known = true else rooms[#rooms + 1] = known end
end
if is_known then
  put({r = #rooms > 0 and cjson.encode(rooms)})
  return '{}'
end
if audience ~= 'r' or user.status == 'offline' then return '{}' end
return '{' .. string.sub(news(), 2) .. '}'
