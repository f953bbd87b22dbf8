-- mark_messages: mirrors domain/messages.rs
-- A member has received ("delivered") or read ("read") the messages in the arguments from 8 on; those that are not known are
-- passed over. `is_up_to`: 1 if there is one message, and those before it of other users are meant, too, back to one that has been
-- marked.
local connection, kind, is_up_to = ARGV[5], ARGV[6], ARGV[7] == '1'
local why = open()
if why then return refuse(why) end
touch()
local seat = seat_of(connection)
if not seat then return refuse('not_in_room') end
if observes(seat) then return refuse('observer') end
local who, field = cjson.encode(seat.w), string.sub(kind, 1, 1) .. seat.w[1]

-- Marks the message of an entry; whether it was not marked before.
local function mark(message, sender)
  if room.kept then
    local marks = key .. ':k:' .. message
    if call('HSETNX', marks, field, now) == 0 then return false end
    call('PEXPIRE', marks, room.keep_age > 0 and room.keep_age or RECEIPTS_MS)
  end
  local event = '{"i":"' .. message .. '","w":' .. who .. ',"y":"' .. kind .. '"}}'
  if room.socketio_count > 0 then tell('*', '{"marked":' .. event) end
  tell('u' .. sender, '{"receipt":' .. event)
  return true
end

local function sender_of(entry)
  return cjson.decode(entry[2][2]).by.w[1]
end

if is_up_to then
  local seq = call('HGET', ids_key, ARGV[8])
  if not seq then return refuse('message_not_found') end
  -- Without history it is not known how far the user has come.
  local most = room.kept and RECEIPTS_PER_REQUEST or 1
  for _, entry in ipairs(call('XREVRANGE', log_key, seq .. '-0', '-', 'COUNT', most)) do
    local sender = sender_of(entry)
    if (sender ~= seat.w[1] or not room.kept) and is_live(entry) and not mark(entry[2][4], sender) then break end
  end
else
  for at = 8, #ARGV do
    local seq = call('HGET', ids_key, ARGV[at])
    local entry = seq and call('XRANGE', log_key, seq .. '-0', seq .. '-0')[1]
    if entry and is_live(entry) then mark(ARGV[at], sender_of(entry)) end
  end
end
return done('"r":1')
