-- mark_message: mirrors domain/messages.rs
-- A member has received ("delivered") or read ("read") a message.
local connection, message, kind = ARGV[5], ARGV[6], ARGV[7]
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(connection)
if not seat then return refuse('not_in_room') end
if observes(seat) then return refuse('observer') end
local seq = call('HGET', ids_key, message)
local entry = seq and call('XRANGE', log_key, seq .. '-0', seq .. '-0')[1]
if not entry or not is_live(entry) then return refuse('message_not_found') end
local sender = cjson.decode(entry[2][2]).by.w[1]
if room.kept then
  local marks = key .. ':k:' .. message
  -- A repeated receipt has no effect.
  if call('HSETNX', marks, string.sub(kind, 1, 1) .. seat.w[1], now) == 0 then return done('"r":1') end
  call('PEXPIRE', marks, room.keep_age > 0 and room.keep_age or RECEIPTS_MS)
end
local who = cjson.encode(seat.w)
local event = '{"i":"' .. message .. '","w":' .. who .. ',"y":"' .. kind .. '"}}'
if room.socketio_count > 0 then tell('*', '{"marked":' .. event) end
tell('u' .. sender, '{"receipt":' .. event)
return done('"r":1')
