-- end_idle: mirrors domain/room.rs
-- A room was left some time ago. The answer says whether it has ended: it is gone now, or idle with its messages.
if call('EXISTS', key) == 0 then return refuse('room_not_found') end
local why = open()
if why == 'room_not_found' then return '{"r":1,"idle":1}' end
-- The clock of the node is behind that of Redis: the room is looked at again.
if not why and not room.made and call('HLEN', members_key) == 0 then return refuse('unsettled') end
return why and refuse(why) or '{"r":1}'
