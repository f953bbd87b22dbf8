-- close: mirrors domain/room.rs
-- The room ends for all members.
local user_id, is_admin, is_guest = ARGV[5], ARGV[6], ARGV[7]
local why = open()
if why then return refuse('room_not_found') end
local is_guest_host = room.host_is_guest == '1' and is_guest == '1'
if not is_host(user_id, is_admin) and not is_guest_host then return refuse('close_forbidden') end
local by = user_id == room.host and 'host' or 'admin'
tell('*', '{"closed":"closed by ' .. by .. '"}')
local answer = done('"r":1')
each('DEL')
call('SET', key .. ':x', now + CLOSED_ROOM_MS, 'PX', CLOSED_ROOM_MS)
return answer
