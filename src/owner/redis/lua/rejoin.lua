-- rejoin: mirrors domain/recovery.rs
-- A client continues on another connection. `epoch` and `seq`: the last message that it has; `most`: messages that it can miss.
-- If they are more than one answer holds, it has the first of them, and no more is done.
local former_connection, member_text, is_admin, epoch, seq = ARGV[5], ARGV[6], ARGV[7], ARGV[8], tonumber(ARGV[9])
local most = tonumber(ARGV[10])
local why = open(true)
if why then return refuse(absence(why)) end
touch()
local seat = cjson.decode(member_text)
local missed = {}
local is_whole = epoch == room.epoch and seq == room.seq
if epoch == room.epoch and seq < room.seq and room.seq - seq <= most and room.kept then
  local next_id = string.format('%d-0', seq + 1)
  local texts, first, is_more = read_texts(log_key, 'XRANGE', next_id, '+', MISSED_PORTION)
  if first == next_id then
    if is_more then return done('"more":1,"ms":[', false, texts) end
    is_whole, missed = true, texts
  end
end
local former, answer, refused = seat_of(former_connection), nil, nil
if former and former.w[1] == seat.w[1] and call('HEXISTS', members_key, seat.c) == 0 then
  local from = former.c
  move(former, seat)
  former.w = seat.w
  tell('@' .. from, '"moved"')
  answer = joined(former, write(former))
else
  answer, refused = join(seat, is_admin)
end
if answer then
  tell_mode_to(seat)
  watch_streams()
end
if not answer then return done('"x":"' .. refused .. '"') end
answer[#answer + 1] = ',"ok":' .. (is_whole and 1 or 0) .. ',"ms":['
return done(answer, false, missed)
