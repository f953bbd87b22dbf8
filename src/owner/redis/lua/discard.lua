-- discard: mirrors domain/room.rs
-- Removes a room that has been without members for too long, unless it was made on purpose.
local v = call('HMGET', key, 'e', 'm')
if v[1] and v[2] ~= '1' and call('HLEN', members_key) == 0 then
  each('DEL')
  hook(HOOK_ROOM_CLOSED, '')
end
return '{"r":1}'
