-- receipt: mirrors domain/messages.rs
-- ARGV: 5 connection, 6 message, 7 "delivered" or "read".
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(ARGV[5])
if not seat then return refuse('not_in_room') end
local seq = call('HGET', I, ARGV[6])
local entry = seq and call('XRANGE', L, seq .. '-0', seq .. '-0')[1]
if not entry then return refuse('message_not_found') end
local sender = cjson.decode(entry[2][2]).by.w[1]
if room.kept then
  local marks = K .. ':k:' .. ARGV[6]
  call('HSETNX', marks, string.sub(ARGV[7], 1, 1) .. seat.w[1], now)
  call('PEXPIRE', marks, room.ka > 0 and room.ka or 2592000000)
end
local who = cjson.encode(seat.w)
local event = '{"i":"' .. ARGV[6] .. '","w":' .. who .. ',"y":"' .. ARGV[7] .. '"}}'
if room.k > 0 then tell('*', '{"marked":' .. event) end
tell('u' .. sender, '{"receipt":' .. event)
return done('"r":1')
