-- count_room: mirrors domain/user.rs
-- Notes a room that the user makes, and checks that there may be another. `room`: may be empty; `is_made`: 1 if it exists
-- already, then it is noted in any case, -1 if it is gone; `most`: rooms that the user may have made. Returns some of the rooms
-- noted longest ago: those that are gone are to be removed.
local room, is_made, most = ARGV[6], ARGV[7], tonumber(ARGV[8])
local made_key = key .. ':m'
if is_made == '-1' then
  call('ZREM', made_key, room)
  return '{}'
end
local is_full = call('ZCARD', made_key) >= most
if room ~= '' and (is_made == '1' or not is_full) then
  -- Rooms beyond the limit, of joins that were under way together.
  if call('ZCARD', made_key) < 2 * most then call('ZADD', made_key, now, room) end
  call('PEXPIRE', made_key, ROOM_LIST_MS)
end
if is_made == '1' then is_full = call('ZCARD', made_key) >= most end
local oldest = {}
if 2 * call('ZCARD', made_key) >= most then
  -- A new entry can be of a room that is being made.
  oldest = call('ZRANGEBYSCORE', made_key, '-inf', now - NEW_ENTRY_MS, 'LIMIT', 0, MADE_CHECKED)
  for _, known in ipairs(oldest) do call('ZADD', made_key, 'XX', now, known) end
end
return '{"f":' .. (is_full and 1 or 0) .. ',"mr":' .. (#oldest > 0 and cjson.encode(oldest) or '[]') .. '}'
