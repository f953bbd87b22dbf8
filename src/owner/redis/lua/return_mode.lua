-- return_mode: mirrors domain/call.rs
-- Media go from peer to peer again, if that is due.
local why = open()
if why then return refuse(why) end
local at = tonumber(call('HGET', key, 'cr') or nil)
if at and at <= now then
  change_mode('p2p', 'sfu', 'participants')
elseif at then
  returns_in = at - now
end
return done('"r":1')
