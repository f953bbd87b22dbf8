-- count_unread: mirrors domain/history.rs
-- Counts the messages that a user has not read: those of others after the last one that the user has read, among the last ones.
-- `connection`: a member, whose user it is, or empty.
local connection, user = ARGV[5], ARGV[6]
local why = open(connection == '')
if why then return refuse(why) end
if connection ~= '' then
  local seat = seat_of(connection)
  if not seat then return refuse('not_in_room') end
  user = seat.w[1]
end
local count, looked, bytes, read, is_all = 0, 0, 0, nil, false
local first = room.kept and room.seq > 0 and first_kept()
local own, field, to = '"w":[' .. cjson.encode(user) .. ',', 'r' .. user, '+'
while first and not read and not is_all and looked < UNREAD_MESSAGES and bytes <= PAGE_BYTES do
  local entries = call('XREVRANGE', log_key, to, string.format('%d-0', first), 'COUNT', READ_STEP)
  for _, entry in ipairs(entries) do
    if looked == UNREAD_MESSAGES then break end
    if call('HEXISTS', key .. ':k:' .. entry[2][4], field) == 1 then
      read = seq_of(entry)
      break
    end
    -- The sender comes first in a message, before any text.
    local by = string.sub(entry[2][2], 1, string.find(entry[2][2], '"id":"', 1, true))
    if is_live(entry) and not string.find(by, own, 1, true) then count = count + 1 end
    looked, bytes = looked + 1, bytes + #entry[2][2]
  end
  is_all = #entries < READ_STEP
  if #entries > 0 then to = '(' .. entries[#entries][1] end
end
local is_complete = read or is_all or room.seq == 0
if connection == '' then rest() end
return done('"w":' .. cjson.encode(user) .. ',"k":' .. count .. ',"c":' .. (is_complete and 1 or 0) .. (read and ',"r":' .. read or ''))
