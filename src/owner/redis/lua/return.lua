-- return: mirrors domain/recovery.rs
-- ARGV: 5 the connection that was lost, 6 the member to be, 7 1 if an admin, 8 the epoch that its client knows, 9 the
-- number of the last message that it has, 10 how many it may miss.
local why = open(true)
if why then return refuse('room_not_found') end
touch()
local seat = cjson.decode(ARGV[6])
local has = tonumber(ARGV[9])
local missed = ''
local is_whole = ARGV[8] == room.e and has == room.s
if ARGV[8] == room.e and has < room.s and room.s - has <= tonumber(ARGV[10]) and room.kept then
  local entries, bytes = call('XRANGE', L, string.format('%d-0', has + 1), '+'), 0
  local list = {}
  for at, entry in ipairs(entries) do
    list[at] = entry[2][2]
    bytes = bytes + #list[at]
  end
  if #list == room.s - has and bytes <= 2097152 then
    is_whole, missed = true, table.concat(list, ',')
  end
end
local former, answer, refused = seat_of(ARGV[5]), nil, nil
if former and former.w[1] == seat.w[1] and call('HEXISTS', M, seat.c) == 0 then
  local from = former.c
  move(former, seat)
  former.w = seat.w
  tell('@' .. from, '"moved"')
  answer = joined(former, write(former))
else
  answer, refused = join(seat, ARGV[7])
end
if not answer then return done('"x":"' .. refused .. '"') end
return done(answer .. ',"ok":' .. (is_whole and 1 or 0) .. ',"ms":[' .. missed .. ']')
