-- close: mirrors domain/room.rs
-- ARGV: 5 user, 6 1 if an admin, 7 1 if a guest.
local why = open()
if why then return refuse('room_not_found') end
if not is_host(ARGV[5], ARGV[6]) and not (room.hg == '1' and ARGV[7] == '1') then return refuse('close_forbidden') end
local by = ARGV[5] == room.hu and 'host' or 'admin'
tell('*', '{"closed":"closed by ' .. by .. '"}')
local answer = done('"r":1')
each('DEL')
call('SET', K .. ':x', now + CLOSED, 'PX', CLOSED)
return answer
